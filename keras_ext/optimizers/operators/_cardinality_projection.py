"""The projection onto few weights."""

import math

import keras
import tensorflow as tf
from keras import ops

from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._checks import number
from keras_ext._core._typing import Config, Tensor
from keras_ext.optimizers.operators._operator import Operator


@keras.saving.register_keras_serializable(package="keras_ext")
class CardinalityProjection(Operator):
    """Keeps the largest weights of each kernel, and makes the others zero.

    The sets of weights with few that are not zero have no convex shape, so where one
    ends depends on how it begins. In `keras_ext.optimizers.ADMM` it is the pruning of
    Zhang et al.; in `keras_ext.optimizers.Proximal` it is iterative hard thresholding.

    Args:
        share: Number in (0, 1], the share of the weights of a kernel that stay, rounded
            up to a whole number. Defaults to `0.1`.

    Raises:
        ValueError: If `share` is no such number.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> project = kx.optimizers.operators.CardinalityProjection(0.5)
        >>> print(project(keras.ops.array([2.0, -3.0, 1.0, 0.0]), 1.0, ()).numpy())
        [ 2. -3.  0.  0.]

    References:
        - [Blumensath and Davies, 2009](https://arxiv.org/abs/0805.0510)
        - [Zhang et al., 2018](https://arxiv.org/abs/1804.03294)
    """

    def __init__(self, share: float = 0.1) -> None:
        self.share = number(share, "share", above=0, high=1)

    def __call__(self, weight: Tensor, step: Tensor, axes: Axes) -> Tensor:
        del step, axes
        flat = ops.reshape(weight, (-1,))
        size = flat.shape[0]
        # Not 21 of 200 for 0.105, which is a little more as a binary number.
        count = min(math.ceil(round(self.share * size, 6)), size)
        # Places, not a threshold: of weights of equal size it would keep too many.
        _, chosen = tf.math.top_k(ops.abs(flat), count)
        kept = tf.scatter_nd(chosen[:, None], tf.gather(flat, chosen), [size])
        return ops.reshape(kept, weight.shape)

    def get_config(self) -> Config:
        return {"share": self.share}
