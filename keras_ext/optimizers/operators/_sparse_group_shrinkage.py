"""The proximal operator of the norms of groups and of absolute values."""

import math
from typing import ClassVar

import keras

from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._checks import number
from keras_ext._core._typing import Config, Tensor
from keras_ext._live._hyper_variable import live_factor
from keras_ext.optimizers.operators._operator import (
    Operator,
    checked_per,
    group_axes,
    group_size,
    penalty,
    shrunk_groups,
    soft_threshold,
)


@keras.saving.register_keras_serializable(package="keras_ext")
class SparseGroupShrinkage(Operator):
    """Thins out groups of weights, and the weights of those that stay.

    The operator of `strength` times `(1 - l1_ratio) * sum(sqrt(size) * norm(group))`
    plus `l1_ratio * sum(abs(w))`, the penalty of
    `keras_ext.regularizers.SparseGroupLasso`.

    Args:
        strength: Number >= 0, the initial strength; it is live. Defaults to `0.01`.
        l1_ratio: Number in [0, 1], the share of the penalty of single weights.
            Defaults to `0.5`.
        per: What a group is, `"unit"`, `"input"` or `"tensor"`, as in
            `GroupShrinkage`. Defaults to `"unit"`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> shrink = kx.optimizers.operators.SparseGroupShrinkage(1.0, l1_ratio=1.0)
        >>> print(shrink(keras.ops.array([[3.0], [0.5]]), 1.0, (0,)).numpy().T)
        [[2. 0.]]

    References:
        - [Simon et al., 2013](https://doi.org/10.1080/10618600.2012.681250)
    """

    takes_steps: ClassVar[bool] = True

    def __init__(
        self, strength: float = 0.01, *, l1_ratio: float = 0.5, per: str = "unit"
    ) -> None:
        self.strength = live_factor(strength, "strength")
        self.l1_ratio = number(l1_ratio, "l1_ratio", low=0, high=1)
        self.per = checked_per(per)

    def __call__(self, weight: Tensor, step: Tensor, axes: Axes) -> Tensor:
        axes = group_axes(weight, axes, self.per)
        step = penalty(step, self.strength, weight)
        root = math.sqrt(group_size(weight, axes))
        # One after the other, since the second keeps all signs.
        thinned = soft_threshold(weight, self.l1_ratio * step)
        return shrunk_groups(thinned, (1.0 - self.l1_ratio) * root * step, axes)

    def get_config(self) -> Config:
        return {**super().get_config(), "l1_ratio": self.l1_ratio, "per": self.per}
