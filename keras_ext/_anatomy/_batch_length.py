"""How many samples a batch has."""

import keras
import tensorflow as tf

from keras_ext._core._typing import Data, Tensor


def batch_length(data: Data) -> Tensor | None:
    """The number of samples in what `train_step` is given; None without any input."""
    x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
    inputs = [leaf for leaf in keras.tree.flatten(x) if leaf is not None]
    return tf.shape(inputs[0])[0] if inputs else None
