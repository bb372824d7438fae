"""What networks of sequences begin with."""

import math
from collections.abc import Sequence

import keras
import numpy as np

from keras_ext._core._checks import integer
from keras_ext.tuner.spaces._network import checked_shape


def checked_sequence(
    input_shape: Sequence[int], vocabulary: int | None
) -> tuple[tuple[int, ...], int | None]:
    """The shape of a sequence, of features or of tokens, and how many of these."""
    vocabulary = integer(vocabulary, "vocabulary", low=1, optional=True)
    ranks = (1,) if vocabulary else (2,)
    what = "as (steps,) with a `vocabulary`" if vocabulary else "as (steps, features)"
    return checked_shape(input_shape, ranks, what), vocabulary


def positions(steps: int, width: int) -> np.ndarray:
    """Sines and cosines that tell where in a sequence a step is, of Vaswani et al."""
    places = np.arange(steps)[:, None]
    # Pairs of a sine and a cosine; an odd width has half of the last pair.
    rates = 10_000 ** (-2 * np.arange(math.ceil(width / 2)) / width)
    angles = places * rates
    both = np.stack([np.sin(angles), np.cos(angles)], axis=-1)
    return both.reshape(steps, -1)[:, :width].astype("float32")


def patches(inputs: keras.KerasTensor, width: int, size: int) -> keras.KerasTensor:
    """Squares of an image, each as a vector, one after the other."""
    x = keras.layers.Conv2D(width, size, strides=size)(inputs)
    return keras.layers.Reshape((-1, width))(x)
