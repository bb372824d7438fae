"""Models that train with the rounding that they will be run with."""

from typing import Any

import keras

from keras_ext._core._checks import integer, require
from keras_ext._core._typing import Layer, Record, Tensor
from keras_ext._keras._functional import is_functional
from keras_ext.compression._quantization_range import QuantizationRange
from keras_ext.compression._quantized_layers import QUANTIZED

_L = keras.layers
_KERNELS = tuple(QUANTIZED)
# Their outputs are inputs, or zeros, so they are in the same range.
_PASSING = (
    _L.Cropping2D,
    _L.Dropout,
    _L.Flatten,
    _L.MaxPooling1D,
    _L.MaxPooling2D,
    _L.GlobalMaxPooling1D,
    _L.GlobalMaxPooling2D,
    _L.Identity,
    _L.Permute,
    _L.Reshape,
    _L.SpatialDropout2D,
    _L.ZeroPadding2D,
    _L.AveragePooling2D,
)
_OTHERS = (
    _L.Activation,
    _L.Add,
    _L.BatchNormalization,
    _L.Concatenate,
    _L.GlobalAveragePooling1D,
    _L.GlobalAveragePooling2D,
    _L.LeakyReLU,
    _L.Multiply,
    _L.ReLU,
    _L.Softmax,
    _L.Subtract,
    _L.UpSampling2D,
)
# What LiteRT computes within the layer before it.
_FUSED_ACTIVATIONS = ("linear", "relu", "relu6")


def quantize_aware(model: keras.Model, *, bits: int = 8) -> keras.Model:
    """Returns a copy of a model that trains as it will run in 8 bits.

    Kernels are rounded when they are used, and what layers give is rounded to a range
    that follows the data, so that the model learns to do with it. Rounding stands where
    LiteRT rounds: batch normalization and ReLU become part of the layer before them and
    are not rounded in between. The ranges are found in training, so fit the copy, some
    epochs with a small learning rate, before it is evaluated. `to_litert(mode="int8")`
    then needs no representative data. `KeepZeros` keeps the zeros of a pruned model.

    The names of layers with weights are those in the model, and the weights are copied.
    Later, `strip_quantization` brings the trained ones back.

    Args:
        model: A built `Sequential` or functional model, without other models in it, of
            `Dense`, `Conv2D` and `DepthwiseConv2D` layers, batch normalization,
            activations, pooling, sums and the like.
        bits: Integer in [2, 8], the number of bits. LiteRT has 8; fewer are for
            studies. Defaults to `8`.

    Returns:
        The copy. It is not compiled.

    Raises:
        ValueError: If an argument is not of this form, or a layer is of a kind of which
            it is not known how LiteRT rounds it.

    Examples:
        >>> import pathlib, tempfile
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> path = pathlib.Path(tempfile.mkdtemp(), "model.tflite")
        >>> x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> aware = kx.compression.quantize_aware(model)
        >>> aware.compile("sgd", "mse")
        >>> history = aware.fit(x, x[:, :2], epochs=2, verbose=0)
        >>> report = kx.compression.to_litert(aware, path, mode="int8")
        >>> report.agreement
        1.0
    """
    bits = integer(bits, "bits", low=2, high=8)
    _require_known(model)
    # A Sequential model has no calls to put something between.
    graph = model
    if isinstance(model, keras.Sequential):
        graph = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    maker = _Maker(graph, bits)
    made = keras.models.clone_model(
        graph, clone_function=maker.copied, call_function=maker.called
    )
    _take_over(made, model)
    return made


def strip_quantization(quantized: keras.Model, model: keras.Model) -> keras.Model:
    """Writes the weights of a quantization-aware model into the model it was made of.

    Args:
        quantized: What `quantize_aware` has returned.
        model: The model that was given to it, or one like it.

    Returns:
        The model, plain and in floats.

    Raises:
        ValueError: If they do not have the same layers.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> aware = kx.compression.quantize_aware(model)
        >>> kx.compression.strip_quantization(aware, model) is model
        True
    """
    for name, value in (("quantized", quantized), ("model", model)):
        require(isinstance(value, keras.Model), name, value, "a keras.Model")
    _take_over(model, quantized)
    return model


def _take_over(target: keras.Model, source: keras.Model) -> None:
    """Copies the weights of the layers that both have, by name."""
    layers = {layer.name: layer for layer in source.layers}
    plain = [x for x in target.layers if x.weights]
    plain = [x for x in plain if not isinstance(x, QuantizationRange)]
    fits = all(
        x.name in layers and len(layers[x.name].weights) == len(x.weights)
        for x in plain
    )
    rule = f"a model with the layers {[x.name for x in plain][:5]}"
    require(fits, "model", source.name, rule)
    for layer in plain:
        pairs = zip(layer.weights, layers[layer.name].weights, strict=True)
        for variable, other in pairs:
            variable.assign(other)


def _require_known(model: Any) -> None:
    require(isinstance(model, keras.Model), "model", model, "a keras.Model")
    is_graph = isinstance(model, keras.Sequential) or is_functional(model)
    rule = "a built Sequential or functional model"
    require(model.built and is_graph, "model", model.name, rule)
    known = (*_KERNELS, *_PASSING, *_OTHERS, _L.InputLayer)
    strange = {
        f"{layer.name}: {type(layer).__name__}"
        for layer in model.layers
        if type(layer) not in known
    }
    rule = f"one without layers that are not known here, {sorted(strange)[:5]}"
    require(not strange, "model", model.name, rule)


class _Maker:
    """Makes the layers of the copy, and calls them.

    Args:
        graph: The functional model.
        bits: The number of bits.
    """

    def __init__(self, graph: keras.Model, bits: int) -> None:
        self.bits = bits
        self._layers = {layer.name: layer for layer in graph.layers}
        self._consumers = _consumers(graph)
        self._activations: Record = {}
        self._known: dict[int, Tensor] = {}

    def copied(self, layer: Layer) -> Layer:
        config = layer.get_config()
        if type(layer) not in QUANTIZED:
            return type(layer).from_config(config)
        if _name(layer) not in _FUSED_ACTIVATIONS:
            # What it takes is rounded, too.
            self._activations[layer.name] = layer.activation
            config["activation"] = "linear"
        kind: Any = QUANTIZED[type(layer)]
        return kind.from_config({**config, "bits": self.bits})

    def called(self, layer: Layer, *args: Any, **kwargs: Any) -> Tensor:
        args = keras.tree.map_structure(self._rounded_input, args)
        output = layer(*args, **kwargs)
        name = layer.name
        if name in self._activations:
            output = self._rounded(output, f"{name}_range")
            activation = self._activations[name]
            output = _L.Activation(activation, name=f"{name}_activation")(output)
            if _has_fixed_range(activation):
                return self._noted(output)
            return self._rounded(output, f"{name}_activation_range")
        if self._is_rounded_later(self._layers[name]):
            return self._noted(output)
        return self._rounded(output, f"{name}_range")

    def _is_rounded_later(self, layer: Layer) -> bool:
        """Whether LiteRT does not round what a layer gives."""
        if isinstance(layer, _PASSING) or _has_fixed_range(
            getattr(layer, "activation", None), layer
        ):
            return True
        consumers = self._consumers.get(layer.name, [])
        if len(consumers) != 1:
            return False
        (following,) = (self._layers.get(name) for name in consumers)
        if isinstance(layer, _KERNELS) and _name(layer) == "linear":
            return isinstance(following, _L.BatchNormalization) or _is_relu(following)
        return isinstance(layer, (_L.BatchNormalization, _L.Add)) and _is_relu(
            following
        )

    def _rounded_input(self, tensor: Any) -> Any:
        """Rounds what comes into the model, once."""
        if not isinstance(tensor, keras.KerasTensor) or id(tensor) in self._known:
            return self._known.get(id(tensor), tensor)
        rounded = self._rounded(tensor, f"input_{len(self._known)}_range")
        self._known[id(tensor)] = rounded
        # Kept, so that no other one gets its id.
        self._activations[f"input {id(tensor)}"] = tensor
        return rounded

    def _rounded(self, tensor: Tensor, name: str) -> Tensor:
        return self._noted(QuantizationRange(bits=self.bits, name=name)(tensor))

    def _noted(self, tensor: Tensor) -> Tensor:
        self._known[id(tensor)] = tensor
        return tensor


def _name(layer: Layer) -> str:
    return getattr(getattr(layer, "activation", None), "__name__", "")


def _is_relu(layer: Any) -> bool:
    return isinstance(layer, _L.ReLU) or (
        isinstance(layer, _L.Activation) and _name(layer) in ("relu", "relu6")
    )


def _has_fixed_range(activation: Any, layer: Any = None) -> bool:
    """Whether LiteRT knows the range of what an activation gives."""
    names = ("softmax", "sigmoid", "tanh")
    return isinstance(layer, _L.Softmax) or (
        getattr(activation, "__name__", "") in names
    )


def _consumers(graph: keras.Model) -> dict[str, list[str]]:
    """From the names of layers to those that take what they give."""
    config = graph.get_config()
    found: dict[str, list[str]] = {}
    for entry in config["layers"]:
        for source in _sources(entry["inbound_nodes"]):
            found.setdefault(source, []).append(entry["name"])
    for source in _sources_of_outputs(config["output_layers"]):
        found.setdefault(source, []).append("")
    return found


def _sources(item: Any) -> list[str]:
    if isinstance(item, dict):
        if item.get("class_name") == "__keras_tensor__":
            return [item["config"]["keras_history"][0]]
        return [name for value in item.values() for name in _sources(value)]
    if isinstance(item, list | tuple):
        return [name for value in item for name in _sources(value)]
    return []


def _sources_of_outputs(item: Any) -> list[str]:
    """The names in `output_layers`: one `[name, node, tensor]`, or a structure."""
    if isinstance(item, list | tuple) and item and isinstance(item[0], str):
        return [item[0]]
    parts = item.values() if isinstance(item, dict) else item
    return [name for part in parts for name in _sources_of_outputs(part)]
