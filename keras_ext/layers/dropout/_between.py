"""Bounds of a weight."""

import keras
from keras import ops

from keras_ext._core._typing import Tensor


class Between(keras.constraints.Constraint):
    """Clips a weight after each update.

    A class, since Keras 3.14 takes no function.

    Args:
        lowest: Number, the least value.
        highest: Number, the largest value.
    """

    def __init__(self, lowest: float, highest: float) -> None:
        self.lowest = lowest
        self.highest = highest

    def __call__(self, w: Tensor) -> Tensor:
        return ops.clip(w, self.lowest, self.highest)
