"""The proximal operator of the sum of absolute values."""

from typing import ClassVar

import keras

from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._typing import Tensor
from keras_ext._live._hyper_variable import live_factor
from keras_ext.optimizers.operators._operator import Operator, penalty, soft_threshold


@keras.saving.register_keras_serializable(package="keras_ext")
class L1Shrinkage(Operator):
    """Moves every weight towards zero by the same amount, and small ones onto it.

    The operator of the penalty `strength * sum(abs(w))`, to thin out single weights:
    with it, unlike with the penalty in the loss, many are exactly zero.

    Args:
        strength: Number >= 0, the initial strength; it is live. Defaults to `0.01`.

    Raises:
        ValueError: If `strength` is no such number.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> shrink = kx.optimizers.operators.L1Shrinkage(0.5)
        >>> print(shrink(keras.ops.array([2.0, -0.3]), 1.0, ()).numpy())
        [ 1.5 -0. ]

    References:
        - [Parikh and Boyd, 2014](https://doi.org/10.1561/2400000003), section 6.5
    """

    takes_steps: ClassVar[bool] = True

    def __init__(self, strength: float = 0.01) -> None:
        self.strength = live_factor(strength, "strength")

    def __call__(self, weight: Tensor, step: Tensor, axes: Axes) -> Tensor:
        del axes
        return soft_threshold(weight, penalty(step, self.strength, weight))
