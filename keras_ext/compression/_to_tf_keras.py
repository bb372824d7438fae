"""Keras 3 models as models of tf_keras, and back."""

from typing import Any

import keras
import numpy as np

from keras_ext._anatomy._replay import mapped, replayed
from keras_ext._anatomy._topology import input_layers
from keras_ext._core._checks import require
from keras_ext._core._extras import import_extra
from keras_ext._core._typing import Config, Layer
from keras_ext._keras._functional import is_graph
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
    rule = "a built Sequential or functional model"
    hint = "A subclassed model does not say how its layers are connected."
    require(is_graph(model) and model.built, name, model.name, rule, hint)


def _converted(model: keras.Model, maker: LayerMaker) -> Any:
    if isinstance(model, keras.Sequential):
        made = _of_sequence(model, maker)
    else:
        made = _of_graph(model, maker)
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


def _of_graph(model: keras.Model, maker: LayerMaker) -> Any:
    inputs = {
        name: maker.input_of(tensor, name)
        for name, tensor in zip(input_layers(model), model.inputs, strict=True)
    }
    made: dict[keras.Layer, Any] = {}

    def call(operation: keras.Operation, args: Any, kwargs: Config) -> Any:
        if not isinstance(operation, keras.Layer):
            return maker.of_operation(operation, args, kwargs)
        if operation not in made:
            made[operation] = _made_of(operation, maker)
        return made[operation](*args, **kwargs)

    outputs = replayed(model, list(inputs.values()), call)
    config = model.get_config()["input_layers"]
    structure = mapped(config, lambda history: inputs[history[0]])
    converted = maker.tf_keras.Model(structure, outputs, name=model.name)
    for layer, other in made.items():
        _copy(layer, other)
    return converted


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
