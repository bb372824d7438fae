"""The projection onto the probabilities."""

import keras
from keras import ops

from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._checks import number
from keras_ext._core._typing import Config, Tensor
from keras_ext.optimizers.operators._operator import (
    Operator,
    checked_per,
    group_axes,
    group_size,
)


@keras.saving.register_keras_serializable(package="keras_ext")
class SimplexProjection(Operator):
    """Keeps the weights of every group not negative, and their sum constant.

    For mixtures: the weights of each unit are probabilities. Many are exactly zero.

    Args:
        total: Number > 0, the sum of a group. Defaults to `1.0`.
        per: What a group is, `"unit"`, `"input"` or `"tensor"`, as in
            `GroupShrinkage`. Defaults to `"unit"`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> project = kx.optimizers.operators.SimplexProjection()
        >>> kernel = keras.ops.array([[0.6, -3.0], [0.8, 2.0]])
        >>> print(project(kernel, 1.0, (0,)).numpy().round(2))
        [[0.4 0. ]
         [0.6 1. ]]

    References:
        - [Duchi et al., 2008](https://doi.org/10.1145/1390156.1390191)
    """

    def __init__(self, total: float = 1.0, *, per: str = "unit") -> None:
        self.total = number(total, "total", above=0)
        self.per = checked_per(per)

    def __call__(self, weight: Tensor, step: Tensor, axes: Axes) -> Tensor:
        del step
        axes = group_axes(weight, axes, self.per)
        size = group_size(weight, axes)
        kept = [i for i in range(len(weight.shape)) if i not in axes]
        order = [*kept, *axes]
        groups = ops.reshape(ops.transpose(weight, order), (-1, size))
        projected = ops.reshape(
            self._projected(groups, size), [weight.shape[i] for i in order]
        )
        return ops.transpose(projected, [order.index(i) for i in range(len(order))])

    def _projected(self, groups: Tensor, size: int) -> Tensor:
        falling = ops.flip(ops.sort(groups, axis=-1), axis=-1)
        counts = ops.cast(ops.arange(1, size + 1), groups.dtype)
        # What has to be taken off each of the largest so that their sum is the total.
        excess = (ops.cumsum(falling, axis=-1) - self.total) / counts
        # True of the largest few, then false: their number tells the place of the last.
        positive = ops.cast(falling > excess, "int32")
        last = ops.sum(positive, axis=-1, keepdims=True) - 1
        return ops.relu(groups - ops.take_along_axis(excess, last, axis=-1))

    def get_config(self) -> Config:
        return {"total": self.total, "per": self.per}
