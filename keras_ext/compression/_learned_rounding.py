"""Rounding whose steps are learned, with the gradients of LSQ."""

from collections.abc import Callable
from typing import TypeAlias

import tensorflow as tf
from keras.quantizers import fake_quant_with_min_max_vars

from keras_ext._core._typing import Tensor

# From that of the outputs to those of the inputs.
Gradient: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]


def learned_rounding(
    x: Tensor,
    low: Tensor,
    high: Tensor,
    *,
    bits: int,
    narrow: bool,
    axis: int | None = None,
) -> Tensor:
    """Rounds to levels from one end to another, both of which get a gradient.

    What LiteRT recognises gives an end no gradient from entries within the range. Here
    each of these says by its rounding error how it would change with the step between
    two levels (LSQ). The gradient of the entries is that of the plain rounding.

    Args:
        x: What is rounded.
        low: The lower end, a number or a vector along `axis`; at most 0.
        high: The upper end.
        bits: How many bits there are.
        narrow: Whether there is one level less, as many below zero as above.
        axis: The last axis, -1, or None for one range.
    """
    # A narrow range leaves one level out, to have as many below zero as above.
    steps = float(2**bits - (2 if narrow else 1))

    @tf.custom_gradient
    def rounded(x: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Gradient]:
        # Never of a symbolic tensor: Keras 3.15 would go on with 8 bits, a wide range
        # and no axis, whatever is given.
        output = fake_quant_with_min_max_vars(
            x, low, high, num_bits=bits, narrow_range=narrow, axis=axis
        )

        def gradients(upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            step = (high - low) / steps
            place = (x - low) / step
            within = tf.cast((place >= 0) & (place <= steps), x.dtype)
            # How much of a step the entry was moved, for each end of the range.
            moved = within * (tf.round(place) - place) / steps
            below = tf.cast(place < 0, x.dtype)
            above = tf.cast(place > steps, x.dtype)
            axes = list(range(len(x.shape) - 1)) if axis is not None else None
            # The rounding itself counts with a slope of 1. What is cut off moves with
            # its end.
            return (
                upstream * within,
                tf.reduce_sum(upstream * (below - moved), axis=axes),
                tf.reduce_sum(upstream * (above + moved), axis=axes),
            )

        return output, gradients

    return rounded(*map(tf.convert_to_tensor, (x, low, high)))


def scaled_gradient(x: Tensor, scale: float) -> Tensor:
    """The same, with a gradient that is so many times as large."""
    return x * scale + tf.stop_gradient(x * (1.0 - scale))
