"""Random numbers that differ between replicas."""

import keras
from keras import ops

from keras_ext._core._typing import Tensor
from keras_ext._keras._replica import replica_number

# Odd and without a pattern: replicas must not share seeds that people choose.
# 2 ** 32 minus what the golden ratio leaves of it.
_STRIDE = 1_640_531_527


class ReplicaSeeds(keras.random.SeedGenerator):
    """Seeds for random numbers, of which every replica gets its own.

    Those of `keras.random.SeedGenerator` are the same on all replicas, so that a
    dropout layer drops the same places of every part of a batch. The first replica,
    and a program without any, gets the same numbers here and there.

    Args:
        seed: As in `keras.random.SeedGenerator`, as is `name`.
        name: The name.
    """

    def next(self, ordered: bool = True) -> Tensor:
        seed = super().next(ordered=ordered)
        number = ops.cast(replica_number(), seed.dtype)
        return seed + number * ops.convert_to_tensor([_STRIDE, 0], dtype=seed.dtype)
