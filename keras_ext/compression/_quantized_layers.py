"""Layers whose kernels are rounded as in a converted model, while they train."""

import math
from collections.abc import Mapping, MutableMapping

import keras
import numpy as np
from keras import ops
from keras.quantizers import fake_quant_with_min_max_vars

from keras_ext._core._checks import flag, integer
from keras_ext._core._typing import Config, Layer, Shape, Tensor, Variable
from keras_ext.compression._learned_rounding import learned_rounding, scaled_gradient


# A layer of its own: the `save_own_variables` of `Dense` and of convolutions writes the
# kernel and the bias alone, and the file would not load.
class KernelStep(keras.layers.Layer):
    """The learned step between two levels of a kernel, or one for each channel.

    A layer of its own, since those with kernels save only what Keras knows of.
    """

    def build(self, input_shape: Shape) -> None:
        # Its logarithm, so that any optimizer moves it by a share of itself.
        self.log_step = self.add_weight(
            name="log_step",
            shape=input_shape,
            initializer="zeros",
            dtype="float32",
            autocast=False,
        )

    def start(self, kernel: Tensor, levels: int) -> None:
        """Begins with the step that LSQ begins with."""
        one = len(self.log_step.shape) == 0
        axes = None if one else tuple(range(len(kernel.shape) - 1))
        mean = ops.mean(ops.abs(kernel), axis=axes)
        # 2 <|v|> / sqrt(Q), with Q levels on a side.
        step = 2.0 * mean / math.sqrt(levels)
        self.log_step.assign(ops.log(ops.maximum(step, 1e-8)))

    def end(self, kernel: Tensor, levels: int) -> Tensor:
        """The largest level, whose gradient is scaled as in LSQ."""
        size = math.prod(kernel.shape) / max(1, math.prod(self.log_step.shape))
        step = ops.exp(self.log_step.value)
        return levels * scaled_gradient(step, 1.0 / math.sqrt(size * levels))


def rounded(
    kernel: Tensor, bits: int, per_channel: bool, step: KernelStep | None = None
) -> Tensor:
    """A kernel in as many levels below zero as above; the gradient goes through."""
    axis = -1 if per_channel else None
    levels = 2 ** (bits - 1) - 1
    if step is not None:
        end = step.end(kernel, levels)
        kernel = ops.cast(kernel, "float32")
        return learned_rounding(kernel, -end, end, bits=bits, narrow=True, axis=axis)
    axes = tuple(range(len(kernel.shape) - 1)) if per_channel else None
    # A kernel of zeros has no range, and so no step to divide by.
    end = ops.stop_gradient(ops.maximum(ops.max(ops.abs(kernel), axis=axes), 1e-8))
    return fake_quant_with_min_max_vars(
        kernel, -end, end, num_bits=bits, narrow_range=True, axis=axis
    )


class Rounding:
    """How kernels are rounded, before a layer of Keras."""

    def __init__(
        self,
        *args: object,
        bits: int = 8,
        learned_steps: bool = False,
        **kwargs: object,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.bits = integer(bits, "bits", low=2, high=8)
        self.learned_steps = flag(learned_steps, "learned_steps")

    def get_config(self) -> Config:
        config: Config = super().get_config()  # type: ignore[misc]
        return {**config, "bits": self.bits, "learned_steps": self.learned_steps}


class RoundedKernel(Rounding):
    """What layers with a rounded kernel have in common, before a layer of Keras."""

    per_channel = True
    step: KernelStep | None = None

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)  # type: ignore[misc]
        if self.learned_steps:
            kernel = self._as_matrix(self.float_kernel())
            self.step = KernelStep(name="step")
            self.step.build(tuple(kernel.shape[-1:]) if self.per_channel else ())
            self.start_steps()

    def start_steps(self) -> None:
        """Begins with the steps that fit the kernel as it is."""
        if self.step is not None:
            kernel = ops.convert_to_tensor(self._as_matrix(self.float_kernel()))
            self.step.start(kernel, 2 ** (self.bits - 1) - 1)

    def float_kernel(self) -> Variable:
        """The kernel as it is learned."""
        return super().kernel  # type: ignore[misc]

    def _as_matrix(self, kernel: Variable) -> Tensor:
        """The kernel with its channels in the last axis alone."""
        return kernel

    def _rounded(self) -> Tensor:
        kernel = self.float_kernel()
        matrix = self._as_matrix(kernel)
        found = rounded(matrix, self.bits, self.per_channel, self.step)
        return found if matrix is kernel else self._back(found, kernel.shape)

    def _back(self, matrix: Tensor, shape: Shape) -> Tensor:
        return ops.reshape(matrix, shape)

    # Keras would save the rounded kernel, and a training would not go on from there.

    def save_own_variables(self, store: MutableMapping[str, Variable]) -> None:
        for i, variable in enumerate(self._own_variables()):
            store[str(i)] = variable

    def load_own_variables(self, store: Mapping[str, np.ndarray]) -> None:
        for i, variable in enumerate(self._own_variables()):
            variable.assign(store[str(i)])

    def _own_variables(self) -> list[Variable]:
        bias = getattr(self, "bias", None)
        return [self.float_kernel(), *([] if bias is None else [bias])]


class _AsRow:
    """For kernels of sequences, which are rounded as those of images of one row.

    So LiteRT computes them, and the kernel must be rounded when it has that form.
    """

    def _as_matrix(self, kernel: Variable) -> Tensor:
        return ops.expand_dims(kernel, 0)

    def _back(self, matrix: Tensor, shape: Shape) -> Tensor:
        return matrix


@keras.saving.register_keras_serializable(package="keras_ext")
class QuantizedDense(RoundedKernel, keras.layers.Dense):
    """A `Dense` layer with one scale for its kernel, as LiteRT takes it."""

    per_channel = False

    @property
    def kernel(self) -> Tensor:
        return self._rounded()


@keras.saving.register_keras_serializable(package="keras_ext")
class QuantizedConv1D(_AsRow, RoundedKernel, keras.layers.Conv1D):
    """A `Conv1D` layer with a scale for each filter, as an image of a row."""

    def call(self, inputs: Tensor) -> Tensor:
        padding = self.padding
        # `ops.conv` knows no causal padding.
        if padding == "causal":
            before = self.dilation_rate[0] * (self.kernel_size[0] - 1)
            inputs = ops.pad(inputs, [[0, 0], [before, 0], [0, 0]])
            padding = "valid"
        row = ops.expand_dims(inputs, 1)
        outputs = ops.conv(
            row,
            self.kernel,
            strides=(1, self.strides[0]),
            padding=padding,
            dilation_rate=(1, self.dilation_rate[0]),
        )
        return finished(self, ops.squeeze(outputs, 1))

    @property
    def kernel(self) -> Tensor:
        return self._rounded()


@keras.saving.register_keras_serializable(package="keras_ext")
class QuantizedConv2D(RoundedKernel, keras.layers.Conv2D):
    """A `Conv2D` layer with a scale for each filter."""

    @property
    def kernel(self) -> Tensor:
        return self._rounded()


class _HeldKernel(RoundedKernel):
    """For layers of Keras that keep their kernel in an attribute."""

    def float_kernel(self) -> Variable:
        return self._float_kernel

    @property
    def kernel(self) -> Tensor:
        return self._rounded()

    @kernel.setter
    def kernel(self, variable: Variable) -> None:
        # Keras makes it in `build`.
        self._float_kernel = variable


@keras.saving.register_keras_serializable(package="keras_ext")
class QuantizedDepthwiseConv2D(_HeldKernel, keras.layers.DepthwiseConv2D):
    """A `DepthwiseConv2D` layer with a scale for each filter."""

    def _as_matrix(self, kernel: Variable) -> Tensor:
        # From (height, width, channels, multiplier): each pair of the last two is an
        # output channel, and those have a scale in LiteRT.
        return ops.reshape(kernel, (*kernel.shape[:2], -1))


@keras.saving.register_keras_serializable(package="keras_ext")
class QuantizedDepthwiseConv1D(_HeldKernel, keras.layers.DepthwiseConv1D):
    """A `DepthwiseConv1D` layer with a scale for each filter, as an image of a row."""

    def call(self, inputs: Tensor) -> Tensor:
        outputs = depthwise_row(self, inputs, self.kernel)
        return finished(self, ops.squeeze(outputs, 1))

    def _as_matrix(self, kernel: Variable) -> Tensor:
        return ops.reshape(kernel, (1, kernel.shape[0], -1))

    def _back(self, matrix: Tensor, shape: Shape) -> Tensor:
        return ops.reshape(matrix, (1, *shape))


@keras.saving.register_keras_serializable(package="keras_ext")
class QuantizedConv2DTranspose(_HeldKernel, keras.layers.Conv2DTranspose):
    """A `Conv2DTranspose` layer with one scale: the converter takes no more."""

    per_channel = False


@keras.saving.register_keras_serializable(package="keras_ext")
class QuantizedConv1DTranspose(_AsRow, _HeldKernel, keras.layers.Conv1DTranspose):
    """A `Conv1DTranspose` layer with one scale, as an image of a row."""

    per_channel = False

    def call(self, inputs: Tensor) -> Tensor:
        more = self.output_padding
        more = more[0] if isinstance(more, list | tuple) else more
        outputs = ops.conv_transpose(
            ops.expand_dims(inputs, 1),
            self.kernel,
            strides=(1, self.strides[0]),
            padding=self.padding,
            output_padding=None if more is None else (0, more),
            dilation_rate=(1, self.dilation_rate[0]),
        )
        return finished(self, ops.squeeze(outputs, 1))


@keras.saving.register_keras_serializable(package="keras_ext")
class QuantizedEinsumDense(RoundedKernel, keras.layers.EinsumDense):
    """An `EinsumDense` layer with one scale for its kernel."""

    per_channel = False

    @property
    def kernel(self) -> Tensor:
        return self._rounded()


@keras.saving.register_keras_serializable(package="keras_ext")
class QuantizedEmbedding(RoundedKernel, keras.layers.Embedding):
    """An `Embedding` layer with one scale, that of the vectors that it gives."""

    per_channel = False

    def float_kernel(self) -> Variable:
        return super().embeddings

    @property
    def embeddings(self) -> Tensor:
        return self._rounded()


def depthwise_row(layer: Layer, inputs: Tensor, kernel: Tensor) -> Tensor:
    """A sequence and a kernel as images of a row, the one convolved with the other."""
    # With a row of one a stride of rows does nothing, and TensorFlow wants it equal.
    return ops.depthwise_conv(
        ops.expand_dims(inputs, 1),
        kernel,
        strides=layer.strides[0],
        padding=layer.padding,
        dilation_rate=(1, layer.dilation_rate[0]),
    )


def finished(layer: Layer, outputs: Tensor) -> Tensor:
    """What a layer gives, from its products: with its bias and its activation."""
    if layer.use_bias:
        outputs = ops.add(outputs, layer.bias)
    return outputs if layer.activation is None else layer.activation(outputs)


QUANTIZED = {
    keras.layers.Dense: QuantizedDense,
    keras.layers.EinsumDense: QuantizedEinsumDense,
    keras.layers.Embedding: QuantizedEmbedding,
    keras.layers.Conv1D: QuantizedConv1D,
    keras.layers.Conv2D: QuantizedConv2D,
    keras.layers.DepthwiseConv1D: QuantizedDepthwiseConv1D,
    keras.layers.DepthwiseConv2D: QuantizedDepthwiseConv2D,
    keras.layers.Conv1DTranspose: QuantizedConv1DTranspose,
    keras.layers.Conv2DTranspose: QuantizedConv2DTranspose,
}
