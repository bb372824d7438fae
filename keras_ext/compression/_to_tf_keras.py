"""Keras 3 models as models of tf_keras, and back."""

from typing import Any

import keras
import numpy as np

from keras_ext._core._checks import require
from keras_ext._core._extras import import_extra
from keras_ext._core._typing import Config, Function, Layer
from keras_ext._keras._functional import is_functional
from keras_ext.compression._tf_keras_layers import LayerMaker


def to_tf_keras(model: keras.Model) -> Any:
    """Returns the same model as a tf_keras model, which tfmot takes.

    Layers, connections and weights are converted, but not the optimizer. Things that
    Keras 2 computes differently under the same name, such as the activation
    `hard_sigmoid`, are computed as in Keras 3. Operations of `keras.ops` become
    `Lambda` layers. Layers that tf_keras does not have are an error. This imports
    tf_keras, but not tensorflow-model-optimization, which changes what `tf.keras` is:
    use that in another process, by `run_tfmot`.

    Args:
        model: A built `Sequential` or functional model, also with others inside.

    Returns:
        A `tf_keras.Model`.

    Raises:
        ValueError: If it is no such model, or has a layer or an option that tf_keras
            does not have.
        ImportError: If tf_keras is not installed.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> kx.compression.to_tf_keras("model")
        Traceback (most recent call last):
        ValueError: `model` must be a keras.Model. Received: model='model'.
    """
    require_graph(model)
    return _converted(model, LayerMaker(import_extra("tf_keras", "tfmot")))


def from_tf_keras(source: Any, into: keras.Model) -> keras.Model:
    """Copies the weights of a tf_keras model into the Keras 3 model it was made of.

    They are found by the names of layers, also inside the wrappers of a quantized one.
    Wrappers of pruning and clustering have to be taken off before, by `strip_pruning`
    and `strip_clustering`.

    Args:
        source: A model that `to_tf_keras` has made, after what was done to it.
        into: The Keras 3 model, or one like it; its weights are changed.

    Returns:
        The Keras 3 model.

    Raises:
        ValueError: If a layer with weights is missing, or its weights do not fit.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> kx.compression.from_tf_keras(None, into=None)
        Traceback (most recent call last):
        ValueError: `into` must be a keras.Model. Received: into=None.
    """
    require_graph(into, "into")
    rule = "a tf_keras.Model"
    require(hasattr(source, "layers"), "source", source, rule)
    _copy_back(source, into)
    return into


def require_graph(model: keras.Model, name: str = "model") -> None:
    require(isinstance(model, keras.Model), name, model, "a keras.Model")
    is_graph = isinstance(model, keras.Sequential) or is_functional(model)
    rule = "a built Sequential or functional model"
    hint = "A subclassed model does not say how its layers are connected."
    require(is_graph and model.built, name, model.name, rule, hint)


def _converted(model: keras.Model, maker: LayerMaker) -> Any:
    if isinstance(model, keras.Sequential):
        made = _of_sequence(model, maker)
    else:
        made = _Graph(model, maker).made()
    if not model.trainable:
        # It is said to the layers, too, so that True would set those free.
        made.trainable = False
    return made


def _made_of(layer: Layer, maker: LayerMaker) -> Any:
    if isinstance(layer, keras.Model):
        require_graph(layer)
        return _converted(layer, maker)
    return maker.made(layer)


def _of_sequence(model: keras.Model, maker: LayerMaker) -> Any:
    layers = [maker.input_of(model.inputs[0], f"{model.name}_input")]
    layers += [_made_of(layer, maker) for layer in model.layers]
    made = maker.tf_keras.Sequential(layers, name=model.name)
    # Neither of them lists its InputLayer.
    for layer, other in zip(model.layers, made.layers, strict=True):
        _copy(layer, other)
    return made


class _Graph:
    """Places the layers of a functional model one after the other."""

    def __init__(self, model: keras.Model, maker: LayerMaker) -> None:
        self.model = model
        self.maker = maker
        self.config = model.get_config()
        self.operations = {op.name: op for op in model.operations}
        self.layers: dict[str, Any] = {}
        # From a layer and the number of its call to what that gave.
        self.found: dict[tuple[str, int], Any] = {}

    def made(self) -> Any:
        waiting = [
            (entry, number, node)
            for entry in self.config["layers"]
            for number, node in enumerate(entry["inbound_nodes"] or [None])
        ]
        while waiting:
            ready = [item for item in waiting if self._is_ready(item[2])]
            require(bool(ready), "model", self.model.name, "a graph without circles")
            for entry, number, node in ready:
                self.found[entry["name"], number] = self._called(entry, node)
            waiting = [item for item in waiting if item not in ready]
        ends = [
            _mapped(self.config[key], self._tensor_of)
            for key in ("input_layers", "output_layers")
        ]
        made = self.maker.tf_keras.Model(*ends, name=self.model.name)
        for name, other in self.layers.items():
            _copy(self.operations[name], other)
        return made

    def _is_ready(self, node: Any) -> bool:
        return all((s[0], s[1]) in self.found for s in _histories(node))

    def _called(self, entry: Config, node: Any) -> Any:
        name = entry["name"]
        operation = self.operations[name]
        if isinstance(operation, keras.layers.InputLayer):
            return self.maker.input_of(operation.output, name)
        args, kwargs = (self._filled(node[key]) for key in ("args", "kwargs"))
        # Keras 3 notes the default of `training`, which would switch dropout off for
        # ever; and masks that are None, which some layers here do not take.
        kwargs = {k: v for k, v in kwargs.items() if k != "training" and v is not None}
        if not isinstance(operation, keras.Layer):
            return self.maker.of_operation(operation, args, kwargs)
        if name not in self.layers:
            self.layers[name] = _made_of(operation, self.maker)
        return self.layers[name](*args, **kwargs)

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


def _mapped(item: Any, function: Function) -> Any:
    """A structure of `[name, node, tensor]`, with a function of each."""
    if isinstance(item, list | tuple) and item and isinstance(item[0], str):
        return function(item)
    if isinstance(item, dict):
        return {key: _mapped(value, function) for key, value in item.items()}
    found = [_mapped(value, function) for value in item]
    return found[0] if len(found) == 1 else found


def _histories(item: object) -> list[tuple[str, int, int]]:
    if isinstance(item, dict):
        if item.get("class_name") == "__keras_tensor__":
            return [item["config"]["keras_history"]]
        return [h for value in item.values() for h in _histories(value)]
    if isinstance(item, list | tuple):
        return [h for value in item for h in _histories(value)]
    return []


def _is_copied(layer: Layer) -> bool:
    # The statistics of a Normalization are in its configuration.
    return bool(layer.weights) and not isinstance(layer, keras.layers.Normalization)


def _copy(layer: Layer, other: Any) -> None:
    """Copies the weights of a layer, which come in the same order."""
    if isinstance(layer, keras.Model) or not _is_copied(layer):
        return
    values = [keras.ops.convert_to_numpy(v) for v in layer.weights]
    shapes = [tuple(w.shape) for w in other.weights]
    fits = [v.shape for v in values] == shapes
    fits = fits and all(
        v.name == _last(w, v.name)
        for v, w in zip(layer.weights, other.weights, strict=True)
    )
    rule = f"one whose weights are those of tf_keras, {shapes}"
    require(fits, "model", f"{layer.name}: {[v.shape for v in values]}", rule)
    other.set_weights(values)


def _copy_back(source: Any, into: keras.Model) -> None:
    layers = {layer.name: layer for layer in source.layers}
    for layer in into.layers:
        other = layers.get(layer.name, layers.get(f"quant_{layer.name}"))
        if isinstance(layer, keras.Model) and other is not None:
            _copy_back(other, layer)
        elif _is_copied(layer):
            hint = "Take off wrappers with strip_pruning or strip_clustering."
            rule = f"a model with the layer {layer.name!r}"
            names = list(layers)
            require(other is not None, "source", names, rule, hint)
            layer.set_weights(_weights_for(layer, other))


def _weights_for(layer: Layer, other: Any) -> list[np.ndarray]:
    """The weights of a layer, among those of a wrapper, by their names."""
    names = [v.name for v in layer.weights]
    theirs = [_last(w, *names) for w in other.weights]
    pairs = list(zip(theirs, map(np.asarray, other.weights), strict=True))
    found = [value for name, value in pairs if name in names]
    if theirs != names and len(set(names)) == len(names):
        # Wrappers keep kernels apart from what is left of the layer.
        by_name = dict(pairs)
        found = [by_name[name] for name in names if name in by_name]
    shapes = [tuple(v.shape) for v in layer.weights]
    fits = [w.shape for w in found] == shapes
    have = f"{layer.name}: {theirs}"
    require(fits, "source", have, f"a model whose layer has {names} of {shapes}")
    return found


def _last(weight: Any, *names: str) -> str:
    """The name of a weight there; of a depthwise kernel as it is called here."""
    last = str(weight.name).rpartition("/")[2].partition(":")[0]
    return "kernel" if last == "depthwise_kernel" and last not in names else last
