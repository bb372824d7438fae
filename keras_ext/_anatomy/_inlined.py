"""Models without other models in them."""

from collections.abc import Iterator
from typing import Any

import keras

from keras_ext._anatomy._input_rows import input_names, is_by_name
from keras_ext._anatomy._replay import replayed
from keras_ext._core._checks import require
from keras_ext._core._paths import unique_path
from keras_ext._core._typing import Config
from keras_ext._keras._functional import is_graph


def inlined(model: keras.Model) -> keras.Model:
    """A functional copy of a model, with the layers of models inside in their place.

    Args:
        model: A built `Sequential` or functional model.

    Returns:
        The copy, with the same weights. Its layers have the names of `flat_names`.

    Examples:
        >>> import keras
        >>> from keras_ext._anatomy._inlined import inlined
        >>> dense = keras.layers.Dense(2, name="dense")
        >>> inner = keras.Sequential([keras.Input((3,)), dense], name="inner")
        >>> head = keras.layers.Dense(1, name="head")
        >>> model = keras.Sequential([keras.Input((3,), name="in"), inner, head])
        >>> [layer.name for layer in inlined(model).layers]
        ['in', 'dense', 'head']
    """
    names = flat_names(model)
    copier = _Copier(names)

    def again(tensor: keras.KerasTensor) -> keras.KerasTensor:
        return keras.Input(
            batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name
        )

    graph = as_graph(model)
    inputs = keras.tree.map_structure(again, graph.input)
    made = keras.Model(inputs, copier.outputs(graph, inputs), name=model.name)
    for layer, name in names.items():
        if isinstance(layer, keras.Layer) and layer.weights:
            made.get_layer(name).set_weights(layer.get_weights())
    return made


def flat_names(model: keras.Model) -> dict[keras.Operation, str]:
    """Names for all operations of a model and of those in it, each once.

    What is not in a model inside keeps its name. Other names are kept where they are
    free; to those that are not, the name of the model around is put in front.

    Args:
        model: A `Sequential` or functional model.
    """
    found: dict[keras.Operation, str] = {}
    taken: set[str] = set()
    inner = [(model, "")]
    while inner:
        level = list(inner)
        inner = []
        for holder, prefix in level:
            for operation in _operations(holder, outermost=holder is model):
                if is_graph(operation):
                    inner.append((operation, f"{prefix}{operation.name}_"))
                elif operation not in found:
                    free = operation.name not in taken
                    name = operation.name if free else prefix + operation.name
                    found[operation] = unique_path(name, taken)
                    taken.add(found[operation])
    return found


def as_graph(model: keras.Model) -> keras.Model:
    """A model as a functional one, of the same layers."""
    if not isinstance(model, keras.Sequential):
        return model
    return keras.Model(model.inputs[0], model.outputs[0], name=model.name)


def _operations(model: keras.Model, outermost: bool) -> Iterator[keras.Operation]:
    listed = model.layers if isinstance(model, keras.Sequential) else model.operations
    for operation in listed:
        if outermost or not isinstance(operation, keras.layers.InputLayer):
            yield operation


class _Copier:
    """Calls copies of layers."""

    def __init__(self, names: dict[keras.Operation, str]) -> None:
        self.names = names
        self.made: dict[keras.Operation, keras.Operation] = {}

    def outputs(self, graph: keras.Model, inputs: Any) -> Any:
        """What a functional model gives for tensors."""
        names = input_names(graph)
        given = inputs
        if is_by_name(names, inputs) and not isinstance(graph.input, dict):
            given = [inputs[name] for name in names]
        return replayed(graph, keras.tree.flatten(given), self.call)

    def call(self, operation: keras.Operation, args: Any, kwargs: Config) -> Any:
        """Calls a copy, or what a model inside consists of."""
        if not is_graph(operation):
            return self._copy(operation)(*args, **kwargs)
        rule = "one whose models inside are called with their inputs alone"
        require(len(args) == 1 and not kwargs, "model", operation.name, rule)
        if isinstance(operation, keras.Sequential):
            for layer in operation.layers:
                args = [self.call(layer, args, {})]
            return args[0]
        return self.outputs(operation, args[0])

    def _copy(self, operation: keras.Operation) -> keras.Operation:
        if operation not in self.made:
            config = operation.get_config()
            if "name" in config:
                config["name"] = self.names[operation]
            self.made[operation] = type(operation).from_config(config)
        return self.made[operation]
