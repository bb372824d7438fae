"""The projection onto an interval."""

from typing import ClassVar

import keras
from keras import ops

from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._checks import number, require
from keras_ext._core._typing import Config, Tensor
from keras_ext.optimizers.operators._operator import Operator


@keras.saving.register_keras_serializable(package="keras_ext")
class BoxProjection(Operator):
    """Keeps every weight between two numbers.

    With `low=0.0` and `high=None` weights are not negative.

    Args:
        low: Number, the smallest value. None means that there is none.
        high: Number, the largest value. None means that there is none.

    Raises:
        ValueError: If an argument is no number, both are None, or `low > high`.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> project = kx.optimizers.operators.BoxProjection(-1.0, 1.0)
        >>> print(project(keras.ops.array([2.0, -0.3]), 1.0, ()).numpy())
        [ 1.  -0.3]
    """

    takes_steps: ClassVar[bool] = True

    def __init__(self, low: float | None = None, high: float | None = None) -> None:
        self.low = number(low, "low", optional=True)
        self.high = number(high, "high", optional=True)
        given = low is not None or high is not None
        require(given, "low", low, "a number if `high` is None")
        ordered = None in (low, high) or self.low <= self.high
        require(ordered, "low", low, f"at most `high`, which is {high}")

    def __call__(self, weight: Tensor, step: Tensor, axes: Axes) -> Tensor:
        del step, axes
        weight = weight if self.low is None else ops.maximum(weight, self.low)
        return weight if self.high is None else ops.minimum(weight, self.high)

    def get_config(self) -> Config:
        return {"low": self.low, "high": self.high}
