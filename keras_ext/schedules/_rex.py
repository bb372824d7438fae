"""A decay for a training whose length is known and short."""

import keras
from keras import ops

from keras_ext._core._checks import integer, number
from keras_ext._core._typing import Tensor
from keras_ext.schedules._schedule import Schedule


@keras.saving.register_keras_serializable(package="keras_ext")
class Rex(Schedule):
    """Falls slowly at first and steeply at the end (reflected exponential).

    With `z` the share of the updates that are made, the rate is
    `max_learning_rate * (1 - z) / (1 - z / 2)`: above a linear decay all the time. In
    the experiments of the paper it was the best of many schedules, over short and long
    trainings together. After the last update it stays at `min_learning_rate`.

    Args:
        max_learning_rate: Number > 0, the rate at the beginning.
        total_steps: Integer >= 1, how many updates there will be.
        min_learning_rate: Number >= 0, the rate at the end. Defaults to `0.0`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras_ext as kx
        >>> schedule = kx.schedules.Rex(1.0, total_steps=4)
        >>> [round(float(schedule(step)), 2) for step in range(5)]
        [1.0, 0.86, 0.67, 0.4, 0.0]

    References:
        - [Chen et al., 2021](https://arxiv.org/abs/2107.04197)
    """

    def __init__(
        self,
        max_learning_rate: float,
        total_steps: int,
        *,
        min_learning_rate: float = 0.0,
    ) -> None:
        self.max_learning_rate = number(max_learning_rate, "max_learning_rate", above=0)
        self.total_steps = integer(total_steps, "total_steps", low=1)
        self.min_learning_rate = number(min_learning_rate, "min_learning_rate", low=0)

    def value(self, step: Tensor) -> Tensor:
        left = ops.clip((self.total_steps - step) / self.total_steps, 0.0, 1.0)
        height = self.max_learning_rate - self.min_learning_rate
        return self.min_learning_rate + height * left / (0.5 + 0.5 * left)
