"""A warm-up for any learning rate."""

from typing import Self

import keras
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from keras_ext._core._checks import choice, flag, integer, number, require
from keras_ext._core._typing import Tensor
from keras_ext.schedules._schedule import (
    Schedule,
    schedule_or_number,
    value_at,
)


@keras.saving.register_keras_serializable(package="keras_ext")
class Warmup(Schedule):
    """Lets another schedule, or a constant rate, begin slowly.

    Over the first `steps` updates the learning rate is multiplied by a factor that
    grows from `start` to 1. Use it where the first updates are too long: with large
    batches, with Adam, whose averages know little then, and with large rates.
    `Warmup.untuned(inner)` has the length that suits Adam.

    Args:
        inner: Schedule, or number >= 0, the learning rate to be warmed up.
        steps: Integer >= 1, the updates of the warm-up.
        start: Number in [0, 1], the first factor. With 0 the first update does nothing,
            though Adam's averages take it in. Defaults to `0.0`.
        mode: `"linear"`, or `"exponential"`, in which equal numbers of updates multiply
            the factor by the same; it needs a `start` above 0. Defaults to `"linear"`.
        shift: Whether `inner` begins only when the warm-up is over, and has its first
            value until then. Defaults to `False`: it runs from the beginning.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> decay = keras.optimizers.schedules.ExponentialDecay(1.0, 1, 0.5)
        >>> schedule = kx.schedules.Warmup(decay, 2, start=0.5, shift=True)
        >>> [float(schedule(step)) for step in range(5)]
        [0.5, 0.75, 1.0, 0.5, 0.25]

    References:
        - [Goyal et al., 2017](https://arxiv.org/abs/1706.02677)
        - [Ma and Yarats, 2019](https://arxiv.org/abs/1910.04209): `untuned`
    """

    def __init__(
        self,
        inner: float | LearningRateSchedule,
        steps: int,
        *,
        start: float = 0.0,
        mode: str = "linear",
        shift: bool = False,
    ) -> None:
        self.inner = schedule_or_number(inner, "inner")
        self.steps = integer(steps, "steps", low=1)
        self.start = number(start, "start", low=0, high=1)
        self.mode = choice(mode, "mode", ("linear", "exponential"))
        hint = 'It is multiplied again and again; mode="linear" can begin with 0.'
        begins = self.mode == "linear" or self.start > 0
        require(begins, "start", start, 'above 0 with mode="exponential"', hint)
        self.shift = flag(shift, "shift")

    @classmethod
    def untuned(
        cls, inner: float | LearningRateSchedule, beta_2: float = 0.999
    ) -> Self:
        """Makes a linear warm-up over `2 / (1 - beta_2)` updates, the rule for Adam.

        Args:
            inner: Schedule, or number >= 0.
            beta_2: Number in [0, 1), that of the optimizer. Defaults to `0.999`.

        Returns:
            The schedule.
        """
        beta_2 = number(beta_2, "beta_2", low=0, below=1)
        return cls(inner, max(1, round(2 / (1 - beta_2))))

    def value(self, step: Tensor) -> Tensor:
        done = ops.minimum(step / self.steps, 1.0)
        if self.mode == "linear":
            factor = self.start + (1 - self.start) * done
        else:
            factor = ops.power(self.start, 1 - done)
        place = ops.maximum(step - self.steps, 0.0) if self.shift else step
        return factor * value_at(self.inner, place)
