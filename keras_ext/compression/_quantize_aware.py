"""Models that train with the rounding that they will be run with."""

from typing import Any

import keras
import numpy as np

from keras_ext._anatomy._inlined import as_graph, flat_names, inlined
from keras_ext._anatomy._sublayers import sublayers
from keras_ext._anatomy._topology import consumers
from keras_ext._core._checks import flag, integer, require
from keras_ext._core._paths import unique_path
from keras_ext._core._typing import Layer, Record, Tensor, Variable
from keras_ext._keras._functional import is_graph
from keras_ext.compression._quantization_range import QuantizationRange
from keras_ext.compression._quantized_layers import (
    QUANTIZED,
    KernelStep,
    RoundedKernel,
)
from keras_ext.compression._quantized_normalization import (
    QuantizedLayerNormalization,
    QuantizedNormalization,
)
from keras_ext.compression._quantized_separable import SEPARABLE, RoundedKernels

_GRAPH = "a built Sequential or functional model"
_L = keras.layers
_ROUNDED_KINDS: dict[Any, Any] = {**QUANTIZED, **SEPARABLE}
_KERNELS = tuple(_ROUNDED_KINDS)
# Layers within others that say how these round.
_ROUNDING = (KernelStep, QuantizationRange)
_TRANSPOSED = (_L.Conv1DTranspose, _L.Conv2DTranspose)
_PRODUCTS = (_L.Dense, _L.EinsumDense, _L.Embedding)
# Layers that do something only in training.
_SILENT = (
    _L.ActivityRegularization,
    _L.AlphaDropout,
    _L.Dropout,
    _L.GaussianDropout,
    _L.GaussianNoise,
    _L.Identity,
    _L.SpatialDropout1D,
    _L.SpatialDropout2D,
)
# Layers whose outputs are inputs, means of some of them, or zeros, so that they are in
# the same range: LiteRT has one scale for both.
_PASSING = (
    *_SILENT,
    _L.AveragePooling1D,
    _L.AveragePooling2D,
    _L.CenterCrop,
    _L.Cropping1D,
    _L.Cropping2D,
    _L.Flatten,
    _L.GlobalMaxPooling1D,
    _L.GlobalMaxPooling2D,
    _L.MaxPooling1D,
    _L.MaxPooling2D,
    _L.Permute,
    _L.RandomBrightness,
    _L.RandomContrast,
    _L.RandomFlip,
    _L.RandomRotation,
    _L.RandomTranslation,
    _L.RandomZoom,
    _L.RepeatVector,
    _L.Reshape,
    _L.Resizing,
    _L.UpSampling1D,
    _L.UpSampling2D,
    _L.ZeroPadding1D,
    _L.ZeroPadding2D,
)
_OTHERS = (
    _L.Activation,
    _L.Add,
    _L.Average,
    _L.BatchNormalization,
    _L.Concatenate,
    _L.ELU,
    _L.GlobalAveragePooling1D,
    _L.GlobalAveragePooling2D,
    _L.GroupNormalization,
    _L.LayerNormalization,
    _L.LeakyReLU,
    _L.Maximum,
    _L.Minimum,
    _L.Multiply,
    _L.Normalization,
    _L.PReLU,
    _L.ReLU,
    _L.RMSNormalization,
    _L.Rescaling,
    _L.Softmax,
    _L.Subtract,
    _L.UnitNormalization,
)
# The same of `keras.ops`, whose classes have no public names.
_PASSING_OPERATIONS = ("ExpandDims", "GetItem", "Reshape", "Squeeze", "Transpose")
_OTHER_OPERATIONS = (
    "Add",
    "Concatenate",
    "Gelu",
    "HardSilu",
    "LeakyRelu",
    "Maximum",
    "Mean",
    "Minimum",
    "Multiply",
    "Relu",
    "Relu6",
    "Sigmoid",
    "Silu",
    "Softmax",
    "Subtract",
    "Tanh",
)
# What a ReLU becomes part of, besides layers with a kernel.
_FOLDING = (_L.Add, _L.BatchNormalization, _L.Multiply, _L.Subtract)
_FOLDING_OPERATIONS = ("Add", "Multiply", "Subtract")
# What LiteRT computes within the layer before it.
_FUSED_ACTIVATIONS = ("linear", "relu", "relu6")


def quantize_aware(
    model: keras.Model, *, bits: int = 8, learned_steps: bool = False
) -> keras.Model:
    """Returns a copy of a model that trains as it will run in 8 bits.

    Kernels are rounded when they are used, and the outputs of layers are rounded to a
    range that follows the data, so the model learns to cope with it. Rounding happens
    where LiteRT rounds: batch normalization and ReLU become part of the layer before
    them, without rounding in between. Training finds the ranges, so fit the copy for
    some epochs with a small learning rate before you evaluate it.
    `to_litert(mode="int8")` then needs no representative data. `KeepZeros` keeps the
    zeros of a pruned model.

    LiteRT computes some layers only in floats, between two roundings: layer, group, RMS
    and unit normalization, `Normalization`, ELU, Mish, Softplus and the like. If a file
    must contain only integers, check that `LiteRTFile(path).num_float_tensors` is 0,
    and replace such layers.

    Layers with weights keep their names, and the weights are copied. The layers of a
    model inside, such as a pretrained backbone, stand in its place; where its name is
    taken, a layer has the name of that model in front. Later, `strip_quantization`
    brings the trained weights back.

    Args:
        model: A built `Sequential` or functional model, also with others inside, of
            `Dense` and `EinsumDense` layers, embeddings, convolutions over one axis or
            two, also depthwise, separable and transposed ones, normalization,
            activations, pooling, sums and the like. Not of recurrent and attention
            layers, nor of `Conv3D`, of which LiteRT has no kernel for 8 bits; and
            without masks.
        bits: Integer in [2, 8], the number of bits. LiteRT has 8; fewer are for
            studies. Defaults to `8`.
        learned_steps: Whether the ranges of kernels and of what layers give are weights
            that are trained, by the gradients of LSQ, and do not just follow the
            largest entries: it helps with few bits. Defaults to `False`.

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

    References:
        - [Jacob et al., 2017](https://arxiv.org/abs/1712.05877)
        - [Esser et al., 2019](https://arxiv.org/abs/1902.08153) (learned steps)
    """
    learned_steps = flag(learned_steps, "learned_steps")
    bits = integer(bits, "bits", low=2, high=8)
    _require_known(model)
    # A Sequential model has no calls to put something between.
    graph = inlined(model) if any(map(is_graph, model.layers)) else as_graph(model)
    maker = _Maker(graph, bits, learned_steps)
    made = keras.models.clone_model(
        graph, clone_function=maker.copied, call_function=maker.called
    )
    _take_over(made, model)
    for layer in made.layers:
        if isinstance(layer, RoundedKernel | RoundedKernels):
            # Again: only now it has the weights of the model.
            layer.start_steps()
    return _with_types(made, graph)


def _with_types(made: keras.Model, graph: keras.Model) -> keras.Model:
    """The copy with outputs of the types of the model; what rounds gives float32."""

    def cast(output: Tensor, own: Tensor) -> Tensor:
        if output.dtype == own.dtype:
            return output
        return _L.Identity(dtype=own.dtype)(output)

    outputs = keras.tree.map_structure(cast, made.output, graph.output)
    same = keras.tree.flatten(outputs) == keras.tree.flatten(made.output)
    return made if same else keras.Model(made.input, outputs, name=made.name)


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
    layers = _weighty(source)
    plain = _weighty(target)
    fits = all(
        name in layers and len(_of_keras(layers[name])) == len(_of_keras(layer))
        for name, layer in plain.items()
    )
    rule = f"a model with the layers {list(plain)[:5]}"
    require(fits, "model", source.name, rule)
    for name, layer in plain.items():
        pairs = zip(_of_keras(layer), _of_keras(layers[name]), strict=True)
        for variable, other in pairs:
            variable.assign(other)


def _weighty(model: keras.Model) -> dict[str, Layer]:
    """The layers with weights of a model and of those inside, by their flat names."""
    require(is_graph(model), "model", model.name, _GRAPH)
    return {
        name: layer
        for layer, name in flat_names(model).items()
        if not isinstance(layer, QuantizationRange) and getattr(layer, "weights", [])
    }


def _of_keras(layer: Layer) -> list[Variable]:
    """The weights of a layer without those of its rounding."""
    inner = (x for x in sublayers(layer)[1:] if isinstance(x, _ROUNDING))
    own = {id(v) for x in inner for v in x.weights}
    return [v for v in layer.weights if id(v) not in own]


def _require_known(model: keras.Model) -> None:
    require(isinstance(model, keras.Model), "model", model, "a keras.Model")
    require(model.built and is_graph(model), "model", model.name, _GRAPH)
    known = (*_KERNELS, *_PASSING, *_OTHERS, _L.InputLayer)
    named = (*_PASSING_OPERATIONS, *_OTHER_OPERATIONS)
    items = flat_names(model)
    strange = sorted(
        f"{name}: {type(item).__name__}"
        for item, name in items.items()
        if type(item) not in known and _operation(item) not in named
    )
    rule = f"one without layers that are not known here, {strange[:5]}"
    require(not strange, "model", model.name, rule)
    first = [
        f"{name}: {type(layer).__name__}"
        for layer, name in items.items()
        if getattr(layer, "data_format", "") == "channels_first"
        and type(layer) in _KERNELS
        and type(layer) not in (_L.Conv2D, _L.DepthwiseConv2D, _L.Conv2DTranspose)
    ]
    rule = f"one with the channels last in {first[:5]}"
    require(not first, "model", model.name, rule)
    masking = [name for x, name in items.items() if getattr(x, "mask_zero", False)]
    hint = "What is rounded has no mask."
    rule = f"one without mask_zero=True in {masking[:5]}"
    require(not masking, "model", model.name, rule, hint)


class _Maker:
    """Makes the layers of the copy, and calls them.

    Args:
        graph: The functional model.
        bits: The number of bits.
        learned_steps: Whether ranges are trained.
    """

    def __init__(self, graph: keras.Model, bits: int, learned_steps: bool) -> None:
        self.bits = bits
        self.learned_steps = learned_steps
        # With what `keras.ops` makes, which is no layer of the model.
        self._layers = {item.name: item for item in graph.operations}
        found = consumers(graph)
        silent = [name for name, x in self._layers.items() if type(x) in _SILENT]
        for name in silent:
            # In a file they are not there.
            behind = found.pop(name, [])
            for names in found.values():
                if name in names:
                    names[:] = [n for n in names if n != name] + behind
        self._consumers = found
        self._activations: Record = {}
        self._known: dict[int, Tensor] = {}
        self._taken = dict.fromkeys(self._layers)

    def copied(self, layer: Layer) -> Layer:
        config = layer.get_config()
        kind: type[keras.Layer] = type(layer)
        if kind is _L.BatchNormalization and not self._is_folded(layer):
            return QuantizedNormalization.from_config(config)
        if kind is _L.LayerNormalization:
            return QuantizedLayerNormalization.from_config(config)
        if kind not in _KERNELS:
            return kind.from_config(config)
        fused = _FUSED_ACTIVATIONS[: None if _folds(layer) else 1]
        if kind is not _L.Embedding and _name(layer) not in fused:
            # What it takes is rounded, too.
            self._activations[layer.name] = layer.activation
            config["activation"] = "linear"
        own = {"bits": self.bits, "learned_steps": self.learned_steps}
        return _ROUNDED_KINDS[kind].from_config({**config, **own})

    def called(self, layer: Layer, *args: object, **kwargs: object) -> Tensor:
        args = keras.tree.map_structure(self._rounded_input, args)
        name = layer.name
        output = self._output(layer, *args, **kwargs)
        if name in self._activations:
            output = self._rounded(output, f"{name}_range")
            activation = self._activations[name]
            own_name = self._free(f"{name}_activation")
            output = _L.Activation(activation, name=own_name)(output)
            if _has_fixed_range(activation):
                return self._noted(output)
            return self._rounded(output, f"{name}_activation_range")
        if self._is_rounded_later(self._layers[name]):
            return self._noted(output)
        return self._rounded(output, f"{name}_range")

    def _output(self, layer: Layer, *args: Any, **kwargs: object) -> Tensor:
        """What a layer gives, computed by what LiteRT has for 8 bits."""
        if isinstance(layer, (_L.Add, _L.Multiply)):
            return self._in_pairs(layer, args[0], layer)
        own = {"name": layer.name, "dtype": getattr(layer, "dtype_policy", None)}
        if isinstance(layer, _L.Average):
            total = self._in_pairs(layer, args[0], _L.Add(dtype=own["dtype"]))
            total = self._rounded(total, f"{layer.name}_sum_range")
            return _L.Rescaling(1.0 / len(args[0]), **own)(total)
        if isinstance(layer, _L.Rescaling) and np.any(layer.offset):
            first = _L.Rescaling(layer.scale, name=self._free(f"{layer.name}_scale"))
            output = self._rounded(first(*args), f"{layer.name}_scale_range")
            return _L.Rescaling(1.0, layer.offset, **own)(output)
        return layer(*args, **kwargs)

    def _in_pairs(self, layer: Layer, tensors: list[Tensor], last: Layer) -> Tensor:
        """The sum or product of several, two at a time, rounded in between."""
        first, *others = tensors
        for other in others[:-1]:
            part = type(last)(dtype=layer.dtype_policy)([first, other])
            first = self._rounded(part, f"{layer.name}_part_range")
        return last([first, others[-1]])

    def _is_rounded_later(self, layer: Layer) -> bool:
        """Whether LiteRT does not round what a layer gives."""
        if isinstance(layer, _PASSING) or _operation(layer) in _PASSING_OPERATIONS:
            return True
        if isinstance(layer, _L.Embedding):
            return True
        if _has_fixed_range(getattr(layer, "activation", None), layer):
            return True
        following = self._following(layer)
        if isinstance(layer, _KERNELS):
            is_linear = _name(layer) == "linear" and _folds(layer)
            is_one = isinstance(following, _L.BatchNormalization)
            folded = self._is_folded(following) if is_one else _is_relu(following)
            return is_linear and folded
        folds = isinstance(layer, _FOLDING) or _operation(layer) in _FOLDING_OPERATIONS
        return folds and _is_relu(following)

    def _following(self, layer: Layer) -> Layer | None:
        """The only layer that takes what another one gives."""
        consumers = self._consumers.get(layer.name, [])
        # What others take as well is not folded into one of them.
        return self._layers.get(consumers[0]) if len(consumers) == 1 else None

    def _is_folded(self, normalization: Layer) -> bool:
        """Whether LiteRT folds a normalization into what comes before."""
        name = normalization.name
        before = [self._layers[n] for n, f in self._consumers.items() if name in f]
        last = normalization.axis in (-1, normalization.input_spec.ndim - 1)
        return last and all(
            isinstance(x, _KERNELS)
            # Into convolutions alone: it would leave those of others in floats.
            and not isinstance(x, _PRODUCTS)
            and (_name(x), _folds(x)) == ("linear", True)
            and self._following(x) is normalization
            for x in before
        )

    def _rounded_input(self, tensor: object) -> object:
        """Rounds what comes into the model, once."""
        if not isinstance(tensor, keras.KerasTensor) or id(tensor) in self._known:
            return self._known.get(id(tensor), tensor)
        if "float" not in tensor.dtype:
            return tensor
        rounded = self._rounded(tensor, f"input_{len(self._known)}_range")
        self._known[id(tensor)] = rounded
        # Kept, so that no other one gets its id.
        self._activations[f"input {id(tensor)}"] = tensor
        return rounded

    def _rounded(self, tensor: Tensor, name: str) -> Tensor:
        layer = QuantizationRange(
            bits=self.bits, learned=self.learned_steps, name=self._free(name)
        )
        return self._noted(layer(tensor))

    def _free(self, name: str) -> str:
        """A name that no layer has: one that is called twice is rounded twice."""
        name = unique_path(name, self._taken)
        self._taken[name] = None
        return name

    def _noted(self, tensor: Tensor) -> Tensor:
        self._known[id(tensor)] = tensor
        return tensor


def _name(layer: Layer) -> str:
    return getattr(getattr(layer, "activation", None), "__name__", "")


def _folds(layer: Layer) -> bool:
    """Whether LiteRT computes what follows within a layer with a kernel."""
    # Around a convolution with gaps it moves rows to and fro.
    gaps = max(getattr(layer, "dilation_rate", None) or [1]) > 1
    return not gaps and not isinstance(layer, _TRANSPOSED)


def _is_relu(layer: Layer | None) -> bool:
    if isinstance(layer, _L.ReLU):
        plain = not layer.negative_slope and not layer.threshold
        return plain and layer.max_value in (None, 6)
    name = _name(layer) if isinstance(layer, _L.Activation) else _operation(layer)
    return name.lower() in ("relu", "relu6")


def _has_fixed_range(activation: object, layer: Layer | None = None) -> bool:
    """Whether LiteRT knows the range of what an activation gives."""
    names = ("softmax", "sigmoid", "tanh", "log_softmax")
    if isinstance(layer, _L.Softmax) or _operation(layer).lower() in names:
        return True
    return getattr(activation, "__name__", "") in names


def _operation(item: object) -> str:
    """The name of a function of `keras.ops` in a graph; empty for a layer."""
    is_one = isinstance(item, keras.Operation) and not isinstance(item, keras.Layer)
    return type(item).__name__ if is_one else ""
