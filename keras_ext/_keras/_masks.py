"""The masks that Keras puts on tensors."""

import keras

from keras_ext._core._typing import Data, Tensor


def mask_of(outputs: Data) -> Tensor | None:
    """The mask of what a model puts out, if it puts out one tensor that has one.

    Private name: `_keras_mask`.
    """
    leaves = keras.tree.flatten(outputs)
    return getattr(leaves[0], "_keras_mask", None) if len(leaves) == 1 else None
