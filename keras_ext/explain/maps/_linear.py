"""Layers with weights as linear functions whose signs can be told apart."""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf
from keras import layers, ops

from keras_ext._core._checks import require
from keras_ext._core._typing import Layer, Tensor, Variable

_SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)


class Linear:
    """A linear function with weights, and the batch normalization behind it.

    Args:
        name: The name of the layer.
        function: What it computes of a tensor, in float32.
        kernel: The weights that are multiplied with.
        bias: Those that are added, or None.
        normalization: A layer with a fixed mean and variance, or None.
    """

    def __init__(
        self,
        name: str,
        function: Callable[[Tensor], Tensor],
        kernel: Sequence[Variable],
        bias: Variable | None = None,
        normalization: layers.BatchNormalization | None = None,
    ) -> None:
        self._name, self._function = name, function
        self._kernel, self._bias = kernel, bias
        self._normalization = normalization

    def __call__(self, x: Tensor) -> Tensor:
        y = self._function(x)
        if self._normalization is None:
            return y
        scale, shift = _scale_and_shift(self._normalization, y)
        return y * scale + shift

    def signed(self, p: Tensor, n: Tensor, up: bool) -> Tensor:
        """The sums of all positive products and biases, or of all negative ones.

        Args:
            p: What is positive of the input, and else zeros.
            n: What is negative.
            up: Whether the positive products are asked for.
        """
        bias = _of_sign(self(tf.zeros_like(p[:1])), up)
        return self._product(p, up) + self._product(n, not up) + bias

    def favored(self, p: Tensor, n: Tensor | None, gamma: float) -> Tensor:
        """The sums, in which positive products and biases count `1 + gamma` times.

        Args:
            p: What is positive of the input, and else zeros.
            n: What is negative; None if nothing can be.
            gamma: By how much they count more.
        """
        bias = self(tf.zeros_like(p[:1]))
        total = self._product(p, True, gamma) + bias + gamma * _of_sign(bias, True)
        return total if n is None else total + self._product(n, False, gamma)

    def _product(self, x: Tensor, up: bool, gamma: float | None = None) -> Tensor:
        """With weights of one sign alone, or counting more, and no bias."""
        y = self._with(x, up, gamma)
        if self._normalization is None:
            return y
        scale, _ = _scale_and_shift(self._normalization, y)
        # Where the sign is turned, it is the other weights.
        return scale * tf.where(scale >= 0, y, self._with(x, not up, gamma))

    def _with(self, x: Tensor, up: bool, gamma: float | None) -> Tensor:
        rule = (
            f'"epsilon" for {self._name!r}, which has more weights than kernel and bias'
        )
        names = [w.name for w in self._kernel]
        require(len(self._kernel) == 1, "rule", names, rule)
        kernel = self._kernel[0]
        weights = tf.convert_to_tensor(kernel)
        own = _of_sign(weights, up)
        state = [(kernel, own if gamma is None else weights + gamma * own)]
        if self._bias is not None:
            state.append((self._bias, tf.zeros(self._bias.shape)))
        # The layer computes with other weights here, and keeps its own.
        with keras.StatelessScope(state_mapping=state):
            return self._function(x)


def _of_sign(x: Tensor, up: bool) -> Tensor:
    return tf.nn.relu(x) if up else -tf.nn.relu(-x)


def _scale_and_shift(layer: Layer, like: Tensor) -> tuple[Tensor, Tensor]:
    """What batch normalization multiplies with and adds, in inference mode."""
    scale = tf.math.rsqrt(tf.convert_to_tensor(layer.moving_variance) + layer.epsilon)
    if layer.scale:
        scale *= tf.convert_to_tensor(layer.gamma)
    shift = -tf.convert_to_tensor(layer.moving_mean) * scale
    if layer.center:
        shift += tf.convert_to_tensor(layer.beta)
    shape = [1] * like.shape.rank
    shape[layer.axis] = -1
    return tf.reshape(scale, shape), tf.reshape(shift, shape)


def linear_parts(
    layer: Layer,
    function: Callable[[Tensor], Tensor],
    normalization: layers.BatchNormalization | None,
) -> list[Linear]:
    """The layer as linear functions, one after the other.

    Args:
        layer: One of `WEIGHTED_LAYERS`.
        function: What it computes.
        normalization: The batch normalization behind it, or None.
    """
    bias = layer.bias
    if not isinstance(layer, _SEPARABLE):
        kernel = [w for w in layer.weights if w is not bias]
        return [Linear(layer.name, function, kernel, bias, normalization)]
    depthwise, pointwise = layer.depthwise_kernel, layer.pointwise_kernel
    form = {"data_format": layer.data_format}
    window = {"dilation_rate": layer.dilation_rate, "padding": layer.padding, **form}
    is_last = layer.data_format == "channels_last"
    shape = (-1,) if is_last else (-1, *[1] * layer.rank)

    def first(x: Tensor) -> Tensor:
        return ops.depthwise_conv(x, depthwise, layer.strides, **window)

    def second(x: Tensor) -> Tensor:
        y = ops.conv(x, pointwise, 1, "valid", **form)
        return y if bias is None else y + ops.reshape(bias, shape)

    return [
        Linear(layer.name, first, [depthwise]),
        Linear(layer.name, second, [pointwise], bias, normalization),
    ]
