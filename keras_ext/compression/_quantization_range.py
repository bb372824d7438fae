"""Rounds activations as a converted model does, in a range that it learns."""

import math

import keras
from keras import ops
from keras.quantizers import fake_quant_with_min_max_vars

from keras_ext._core._checks import flag, integer, number
from keras_ext._core._typing import Config, Shape, Tensor
from keras_ext.compression._learned_rounding import learned_rounding, scaled_gradient


@keras.saving.register_keras_serializable(package="keras_ext")
class QuantizationRange(keras.layers.Layer):
    """Rounds its input to a number of bits, within the range seen in training.

    `quantize_aware` puts it after the layers of a model. In training, the ends of the
    range follow those of the batches, as moving averages that begin with the first
    batch. The gradient passes as if nothing was rounded, except where the range was
    exceeded. LiteRT takes over the range.

    Args:
        bits: Integer in [2, 8], the number of bits. Defaults to `8`.
        momentum: Number in [0, 1), how much of the averages a batch leaves. Defaults to
            `0.99`.
        learned: Whether the ends are weights that are trained, from the range of the
            first batch on, with the gradients of LSQ. Defaults to `False`.
        **kwargs: What else a layer takes, such as `name`.

    Raises:
        ValueError: If an argument is not of this form.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> layer = kx.compression.QuantizationRange(bits=2)
        >>> x = np.float32([[0.0, 1.2, 1.9, 3.0]])
        >>> print(layer(x, training=True).numpy())
        [[0. 1. 2. 3.]]
    """

    def __init__(
        self,
        *,
        bits: int = 8,
        momentum: float = 0.99,
        learned: bool = False,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        self.learned = flag(learned, "learned")
        self.bits = integer(bits, "bits", low=2, high=8)
        self.momentum = number(momentum, "momentum", low=0, below=1)

    def build(self, input_shape: Shape) -> None:
        def add(name: str, trainable: bool = False) -> keras.Variable:
            # In float32, whatever the policy: the range decides what 8 bits mean.
            return self.add_weight(
                name=name,
                initializer="zeros",
                trainable=trainable,
                dtype="float32",
                autocast=False,
            )

        self.low, self.high = (add(name, self.learned) for name in ("low", "high"))
        self.seen = add("seen")

    def call(self, x: Tensor, training: bool | None = None) -> Tensor:
        if training:
            self._follow(ops.cast(x, "float32"))
        # It always holds 0, which padding needs to be exact, and is never empty.
        low = ops.minimum(self.low.value, 0.0)
        high = ops.maximum(self.high.value, low + 1e-6)
        if not self.learned:
            return fake_quant_with_min_max_vars(x, low, high, num_bits=self.bits)
        # LSQ scales the gradient of a step by 1 / sqrt(N * Q), N activations of Q
        # levels.
        size = math.prod(n or 1 for n in x.shape[1:])
        scale = 1.0 / math.sqrt(size * (2**self.bits - 1))
        ends = (scaled_gradient(end, scale) for end in (low, high))
        x = ops.cast(x, "float32")
        return learned_rounding(x, *ends, bits=self.bits, narrow=False)

    def _follow(self, x: Tensor) -> None:
        # The first batch sets the ends. After it a learned range moves by gradients
        # alone.
        later = 1.0 if self.learned else self.momentum
        kept = ops.where(ops.equal(self.seen.value, 0.0), 0.0, later)
        for end, now in ((self.low, ops.min(x)), (self.high, ops.max(x))):
            now = ops.stop_gradient(now)
            end.assign(kept * end.value + (1.0 - kept) * now)
        self.seen.assign(ops.ones(()))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> Config:
        own = {"bits": self.bits, "momentum": self.momentum, "learned": self.learned}
        return {**super().get_config(), **own}
