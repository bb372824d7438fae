"""Dropout masks for a rate that is a variable."""

from collections.abc import Sequence

import keras
from keras import ops

from keras_ext._core._checks import require
from keras_ext._core._typing import Tensor

# A rate of 1 would divide by zero, and nothing learns far below it.
LARGEST_RATE = 0.95


def live_dropout(
    inputs: Tensor,
    rate: Tensor,
    noise_shape: Sequence[int | Tensor],
    seed: keras.random.SeedGenerator,
) -> Tensor:
    """Dropout for a rate that is a tensor, which `keras.random.dropout` cannot take.

    Args:
        inputs: Floating-point tensor.
        rate: Scalar float32 tensor in [0, 1).
        noise_shape: Shape of the mask, to be broadcast against `inputs`.
        seed: A `keras.random.SeedGenerator`.

    Returns:
        Tensor like `inputs`; exactly `inputs` when the rate is 0.
    """
    # In float16, uniform numbers are too coarse for small rates.
    noise = keras.random.uniform(noise_shape, dtype="float32", seed=seed)
    kept = ops.greater_equal(noise, rate)
    scale = ops.cast(1.0 / (1.0 - rate), inputs.dtype)
    return ops.where(kept, inputs * scale, ops.zeros((), inputs.dtype))


def resolved_noise_shape(
    noise_shape: Sequence[int | None] | None, inputs: Tensor
) -> tuple[int | Tensor, ...]:
    """The noise shape with every None replaced by the size of the inputs."""
    shape = ops.shape(inputs)
    if noise_shape is None:
        return shape
    require(
        len(noise_shape) == len(shape),
        "noise_shape",
        noise_shape,
        f"as long as the inputs have axes, {len(shape)}",
    )
    return tuple(
        given if given is not None else size
        for given, size in zip(noise_shape, shape, strict=True)
    )
