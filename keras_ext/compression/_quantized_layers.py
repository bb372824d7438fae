"""Layers whose kernels are rounded as in a converted model, while they train."""

from typing import Any

import keras
from keras import ops
from keras.quantizers import fake_quant_with_min_max_vars

from keras_ext._core._checks import integer
from keras_ext._core._typing import Config, Tensor


def rounded(kernel: Tensor, bits: int, per_channel: bool) -> Tensor:
    """A kernel in as many levels below zero as above; the gradient goes through."""
    axes = tuple(range(len(kernel.shape) - 1)) if per_channel else None
    end = ops.stop_gradient(ops.maximum(ops.max(ops.abs(kernel), axis=axes), 1e-8))
    return fake_quant_with_min_max_vars(
        kernel,
        -end,
        end,
        num_bits=bits,
        narrow_range=True,
        axis=-1 if per_channel else None,
    )


@keras.saving.register_keras_serializable(package="keras_ext")
class QuantizedDense(keras.layers.Dense):
    """A `Dense` layer with one scale for its kernel, as LiteRT takes it."""

    def __init__(self, *args: Any, bits: int = 8, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.bits = integer(bits, "bits", low=2, high=8)

    @property
    def kernel(self) -> Tensor:
        return rounded(super().kernel, self.bits, per_channel=False)

    def get_config(self) -> Config:
        return {**super().get_config(), "bits": self.bits}


@keras.saving.register_keras_serializable(package="keras_ext")
class QuantizedConv2D(keras.layers.Conv2D):
    """A `Conv2D` layer with a scale for each filter."""

    def __init__(self, *args: Any, bits: int = 8, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.bits = integer(bits, "bits", low=2, high=8)

    @property
    def kernel(self) -> Tensor:
        return rounded(super().kernel, self.bits, per_channel=True)

    def get_config(self) -> Config:
        return {**super().get_config(), "bits": self.bits}


@keras.saving.register_keras_serializable(package="keras_ext")
class QuantizedDepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """A `DepthwiseConv2D` layer with a scale for each filter."""

    def __init__(self, *args: Any, bits: int = 8, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.bits = integer(bits, "bits", low=2, high=8)

    @property
    def kernel(self) -> Tensor:
        kernel = self._float_kernel
        flat = ops.reshape(kernel, (*kernel.shape[:2], -1))
        return ops.reshape(rounded(flat, self.bits, per_channel=True), kernel.shape)

    @kernel.setter
    def kernel(self, variable: Any) -> None:
        # Keras makes it in `build`.
        self._float_kernel = variable

    def get_config(self) -> Config:
        return {**super().get_config(), "bits": self.bits}


QUANTIZED = {
    keras.layers.Dense: QuantizedDense,
    keras.layers.Conv2D: QuantizedConv2D,
    keras.layers.DepthwiseConv2D: QuantizedDepthwiseConv2D,
}
