"""The masks that Keras puts on tensors."""

from typing import Any

import keras

from keras_ext._core._typing import Tensor


def mask_of(outputs: Any) -> Tensor | None:
    """The mask of what a model puts out, if it puts out one tensor that has one.

    Private name: `_keras_mask`.
    """
    leaves = keras.tree.flatten(outputs)
    return getattr(leaves[0], "_keras_mask", None) if len(leaves) == 1 else None
