"""The proximal operator of absolute values and squares."""

from typing import ClassVar

import keras

from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._checks import number
from keras_ext._core._typing import Config, Tensor
from keras_ext._live._hyper_variable import live_factor
from keras_ext.optimizers.operators._operator import Operator, penalty, soft_threshold


@keras.saving.register_keras_serializable(package="keras_ext")
class ElasticNetShrinkage(Operator):
    """Thins out single weights, and of those that go together keeps several.

    The operator of `strength` times `l1_ratio * sum(abs(w))` plus
    `(1 - l1_ratio) / 2 * sum(w**2)`, the penalty of scikit-learn's `ElasticNet`.

    Args:
        strength: Number >= 0, the initial strength; it is live. Defaults to `0.01`.
        l1_ratio: Number in [0, 1], the share of the absolute values.
            Defaults to `0.5`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> shrink = kx.optimizers.operators.ElasticNetShrinkage(1.0)
        >>> print(shrink(keras.ops.array([2.0, -0.3]), 1.0, ()).numpy())
        [ 1. -0.]

    References:
        - [Zou and Hastie, 2005](https://doi.org/10.1111/j.1467-9868.2005.00503.x)
    """

    takes_steps: ClassVar[bool] = True

    def __init__(self, strength: float = 0.01, *, l1_ratio: float = 0.5) -> None:
        self.strength = live_factor(strength, "strength")
        self.l1_ratio = number(l1_ratio, "l1_ratio", low=0, high=1)

    def __call__(self, weight: Tensor, step: Tensor, axes: Axes) -> Tensor:
        del axes
        step = penalty(step, self.strength, weight)
        # In closed form: first the threshold of the absolute values, then the division
        # of the squares.
        shrunk = soft_threshold(weight, self.l1_ratio * step)
        return shrunk / (1.0 + (1.0 - self.l1_ratio) * step)

    def get_config(self) -> Config:
        return {**super().get_config(), "l1_ratio": self.l1_ratio}
