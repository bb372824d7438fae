"""The proximal operator of the norms of groups."""

import math
from typing import ClassVar

import keras

from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._typing import Config, Tensor
from keras_ext._live._hyper_variable import live_factor
from keras_ext.optimizers.operators._operator import (
    Operator,
    checked_per,
    group_axes,
    group_size,
    penalty,
    shrunk_groups,
)


@keras.saving.register_keras_serializable(package="keras_ext")
class GroupShrinkage(Operator):
    """Makes the norm of every group of weights smaller, and small ones zero.

    The operator of the penalty `strength * sum(sqrt(size) * norm(group))`, that of
    `keras_ext.regularizers.GroupLasso`: it takes whole units, or inputs, out of a
    network.

    Args:
        strength: Number >= 0, the initial strength; it is live. Defaults to `0.01`.
        per: What a group is: `"unit"` for all weights of one unit or filter, see
            `keras_ext.optimizers.unit_axes`; `"input"` for all of one input feature or
            channel, in the last axis but one; `"tensor"` for all of a weight.
            Defaults to `"unit"`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> shrink = kx.optimizers.operators.GroupShrinkage(2**0.5)
        >>> kernel = keras.ops.array([[3.0, 0.1], [4.0, 0.1]])
        >>> print(shrink(kernel, 1.0, (0,)).numpy().round(2))  # norm 5 becomes 3
        [[1.8 0. ]
         [2.4 0. ]]

    References:
        - [Yuan and Lin, 2006](https://doi.org/10.1111/j.1467-9868.2005.00532.x)
    """

    takes_steps: ClassVar[bool] = True

    def __init__(self, strength: float = 0.01, *, per: str = "unit") -> None:
        self.strength = live_factor(strength, "strength")
        self.per = checked_per(per)

    def __call__(self, weight: Tensor, step: Tensor, axes: Axes) -> Tensor:
        axes = group_axes(weight, axes, self.per)
        root = math.sqrt(group_size(weight, axes))
        return shrunk_groups(weight, penalty(step, self.strength, weight) * root, axes)

    def get_config(self) -> Config:
        return {**super().get_config(), "per": self.per}
