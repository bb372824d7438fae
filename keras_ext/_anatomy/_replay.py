"""Calling what a functional model is made of, one after the other."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras

from keras_ext._anatomy._topology import input_layers
from keras_ext._core._checks import require
from keras_ext._core._typing import Config, Function

# From an operation, with its positional arguments and the others, to what it gives.
Call: TypeAlias = Callable[[keras.Operation, Any, Config], Any]


def replayed(graph: keras.Model, inputs: Sequence[Any], call: Call) -> Any:
    """What a functional model gives, if each of its calls is made in another way.

    Args:
        graph: The model.
        inputs: What stands for each of its `inputs`.
        call: Makes a call of a layer or of an operation of `keras.ops`.

    Returns:
        The outputs, in the structure of those of the model; one alone without a list.

    Examples:
        >>> import keras
        >>> from keras_ext._anatomy._replay import replayed
        >>> inputs = keras.Input((2,))
        >>> outputs = keras.layers.ReLU(name="b")(keras.layers.ReLU(name="a")(inputs))
        >>> graph = keras.Model(inputs, outputs)
        >>> replayed(graph, ["x"], lambda f, args, kwargs: f"{f.name}({args[0]})")
        'b(a(x))'
    """
    return _Replay(graph, inputs, call).outputs()


def mapped(item: Any, function: Function) -> Any:
    """A structure of `[name, node, tensor]`, with a function of each.

    Args:
        item: What a config of a functional model has in `input_layers`, for one.
        function: Takes such a list.
    """
    if isinstance(item, list | tuple) and item and isinstance(item[0], str):
        return function(item)
    if isinstance(item, dict):
        return {key: mapped(value, function) for key, value in item.items()}
    found = [mapped(value, function) for value in item]
    return found[0] if len(found) == 1 else found


class _Replay:
    def __init__(self, graph: keras.Model, inputs: Sequence[Any], call: Call) -> None:
        self.name = graph.name
        self.call = call
        self.config = graph.get_config()
        self.operations = {op.name: op for op in graph.operations}
        # From a layer and the number of its call to what that gave.
        pairs = zip(input_layers(graph), inputs, strict=True)
        self.found = {(name, 0): value for name, value in pairs}

    def outputs(self) -> Any:
        waiting = [
            (entry["name"], number, node)
            for entry in self.config["layers"]
            for number, node in enumerate(entry["inbound_nodes"])
        ]
        while waiting:
            ready = [item for item in waiting if self._is_ready(item[2])]
            require(bool(ready), "model", self.name, "a graph without circles")
            for name, number, node in ready:
                self.found[name, number] = self._called(self.operations[name], node)
            waiting = [item for item in waiting if item not in ready]
        return mapped(self.config["output_layers"], self._tensor_of)

    def _is_ready(self, node: Any) -> bool:
        return all((s[0], s[1]) in self.found for s in _histories(node))

    def _called(self, operation: keras.Operation, node: Any) -> Any:
        args, kwargs = (self._filled(node[key]) for key in ("args", "kwargs"))
        # Keras 3 notes the default of `training`, which would switch dropout off for
        # ever; and masks that are None, which some layers do not take.
        kwargs = {k: v for k, v in kwargs.items() if k != "training" and v is not None}
        if all(mask is None for mask in keras.tree.flatten(kwargs.get("mask"))):
            kwargs.pop("mask", None)
        return self.call(operation, args, kwargs)

    def _filled(self, item: Any) -> Any:
        """Arguments of a call with tensors in the place of what stands for them."""
        if isinstance(item, dict):
            if item.get("class_name") == "__keras_tensor__":
                return self._tensor_of(item["config"]["keras_history"])
            if item.get("class_name") == "__slice__":
                config = item["config"]
                return slice(config["start"], config["stop"], config["step"])
            if "class_name" in item and "config" in item:
                return keras.saving.deserialize_keras_object(item)
            return {key: self._filled(value) for key, value in item.items()}
        if isinstance(item, list | tuple):
            return type(item)(self._filled(value) for value in item)
        return item

    def _tensor_of(self, history: tuple[str, int, int]) -> Any:
        name, number, index = history
        outputs = self.found[name, number]
        several = isinstance(outputs, list | tuple | dict)
        return keras.tree.flatten(outputs)[index] if several else outputs


def _histories(item: object) -> list[tuple[str, int, int]]:
    if isinstance(item, dict):
        if item.get("class_name") == "__keras_tensor__":
            return [item["config"]["keras_history"]]
        return [h for value in item.values() for h in _histories(value)]
    if isinstance(item, list | tuple):
        return [h for value in item for h in _histories(value)]
    return []
