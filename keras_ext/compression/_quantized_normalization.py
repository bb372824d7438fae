"""Normalization as LiteRT computes it between layers of 8 bits."""

import math

import keras
from keras import ops

from keras_ext._core._typing import Tensor
from keras_ext.compression._quantized_layers import rounded


@keras.saving.register_keras_serializable(package="keras_ext")
class QuantizedNormalization(keras.layers.BatchNormalization):
    """A `BatchNormalization` that is no part of the layer before it.

    As products and sums LiteRT would compute it in floats. When it does not learn it is
    a convolution of each channel with a single number: LiteRT has 8 bits for that, with
    a scale for each channel, so that the numbers are not rounded.
    """

    def call(
        self, inputs: Tensor, training: bool | None = None, mask: Tensor | None = None
    ) -> Tensor:
        if (training and self.trainable) or self.axis not in (-1, inputs.ndim - 1):
            return super().call(inputs, training=training, mask=mask)
        x = ops.cast(inputs, "float32")
        factor = ops.rsqrt(ops.cast(self.moving_variance, "float32") + self.epsilon)
        if self.scale:
            factor = factor * ops.cast(self.gamma, "float32")
        offset = -factor * ops.cast(self.moving_mean, "float32")
        if self.center:
            offset = offset + ops.cast(self.beta, "float32")
        # Each is the largest of its channel, and stays as it is.
        kernel = rounded(ops.reshape(factor, (1, 1, -1)), 8, True)
        kernel = ops.reshape(kernel, (1, 1, -1, 1))
        image = x if x.ndim == 4 else ops.reshape(x, (-1, 1, 1, x.shape[-1]))
        outputs = ops.add(ops.depthwise_conv(image, kernel), offset)
        if x.ndim != 4:
            outputs = ops.reshape(outputs, ops.shape(x))
        return ops.cast(outputs, self.compute_dtype)


@keras.saving.register_keras_serializable(package="keras_ext")
class QuantizedLayerNormalization(keras.layers.LayerNormalization):
    """A `LayerNormalization` that LiteRT computes in floats, between two roundings.

    As Keras computes it, LiteRT would round the means of rows to 8 bits, in the range
    of the entries: far too coarse for rows whose entries are close to one another. A
    sum it does not round.
    """

    def call(self, inputs: Tensor) -> Tensor:
        if self.rms_scaling:
            return super().call(inputs)
        x = ops.cast(inputs, "float32")
        axes = [axis % x.ndim for axis in self.axis]
        count = math.prod(x.shape[axis] for axis in axes)
        away = x - ops.sum(x, axes, keepdims=True) / count
        variance = ops.sum(ops.square(away), axes, keepdims=True) / count
        outputs = away * ops.rsqrt(variance + self.epsilon)
        shape = [n if axis in axes else 1 for axis, n in enumerate(x.shape)]
        if self.scale:
            outputs = outputs * ops.reshape(ops.cast(self.gamma, "float32"), shape)
        if self.center:
            outputs = outputs + ops.reshape(ops.cast(self.beta, "float32"), shape)
        return ops.cast(outputs, self.compute_dtype)
