"""Separable convolutions that are rounded in between, as two layers of LiteRT."""

import keras
from keras import ops

from keras_ext._core._typing import Shape, Tensor
from keras_ext.compression._quantization_range import QuantizationRange
from keras_ext.compression._quantized_layers import (
    KernelStep,
    Rounding,
    depthwise_row,
    finished,
    rounded,
)


class RoundedKernels(Rounding):
    """What separable convolutions have in common, before a layer of Keras."""

    def __init__(self, *args: object, bits: int = 8, **kwargs: object) -> None:
        super().__init__(*args, bits=bits, **kwargs)  # type: ignore[arg-type]
        self.between = QuantizationRange(
            bits=bits, learned=self.learned_steps, name="between"
        )
        self.steps: list[KernelStep] = []

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)  # type: ignore[misc]
        # Not in `call`: an optimizer and a file are for the weights that there are.
        self.between.build(input_shape)
        if self.learned_steps:
            self.steps = [KernelStep(name=f"step_{i}") for i in range(2)]
            for step, kernel in zip(self.steps, self._kernels(), strict=True):
                step.build(tuple(kernel.shape[-1:]))
            self.start_steps()

    def start_steps(self) -> None:
        """Begins with the steps that fit the kernels as they are."""
        for step, kernel in zip(self.steps, self._kernels(), strict=False):
            step.start(kernel, 2 ** (self.bits - 1) - 1)

    def _kernels(self) -> list[Tensor]:
        """Those for images or images of a row, with channels in the last axis alone."""
        kernels = [self.depthwise_kernel, self.pointwise_kernel]  # type: ignore[attr-defined]
        if len(kernels[0].shape) == 3:
            kernels = [ops.expand_dims(kernel, 0) for kernel in kernels]
        deep, point = map(ops.convert_to_tensor, kernels)
        return [ops.reshape(deep, (*deep.shape[:2], -1)), point]

    def _rounded(self) -> list[Tensor]:
        kernels = self._kernels()
        steps: list[KernelStep] | list[None] = self.steps or [None, None]
        deep, point = (
            rounded(kernel, self.bits, True, step)
            for kernel, step in zip(kernels, steps, strict=True)
        )
        channels = self.depthwise_kernel.shape[-2]  # type: ignore[attr-defined]
        return [ops.reshape(deep, (*deep.shape[:2], channels, -1)), point]

    def _rest(self, outputs: Tensor, kernel: Tensor, training: bool | None) -> Tensor:
        """What the second kernel makes of what the first one gives."""
        outputs = self.between(outputs, training=training)
        return ops.conv(ops.cast(outputs, kernel.dtype), kernel)


@keras.saving.register_keras_serializable(package="keras_ext")
class QuantizedSeparableConv1D(RoundedKernels, keras.layers.SeparableConv1D):
    """A `SeparableConv1D` layer with scales for each filter, as an image of a row."""

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        deep, point = self._rounded()
        outputs = depthwise_row(self, inputs, deep)
        outputs = self._rest(outputs, point, training)
        return finished(self, ops.squeeze(outputs, 1))


@keras.saving.register_keras_serializable(package="keras_ext")
class QuantizedSeparableConv2D(RoundedKernels, keras.layers.SeparableConv2D):
    """A `SeparableConv2D` layer with scales for each filter."""

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        deep, point = self._rounded()
        outputs = ops.depthwise_conv(
            inputs,
            deep,
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
        )
        return finished(self, self._rest(outputs, point, training))


SEPARABLE = {
    keras.layers.SeparableConv1D: QuantizedSeparableConv1D,
    keras.layers.SeparableConv2D: QuantizedSeparableConv2D,
}
