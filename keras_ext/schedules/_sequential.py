"""Schedules one after the other."""

from collections.abc import Sequence

import keras
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from keras_ext._core._checks import integers, require
from keras_ext._core._typing import Tensor
from keras_ext.schedules._schedule import (
    Schedule,
    schedule_or_number,
    value_at,
)


@keras.saving.register_keras_serializable(package="keras_ext")
class Sequential(Schedule):
    """Follows one schedule after the other, each from its own beginning.

    It does what `optax.join_schedules` and `torch.optim.lr_scheduler.SequentialLR` do.

    Args:
        schedules: List of schedules, or numbers >= 0, rates that stay.
        boundaries: List of integers >= 1, in order, one less than schedules: the
            updates at which the next one begins, with its step 0.

    Raises:
        ValueError: If an argument is not of this form.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> decay = keras.optimizers.schedules.ExponentialDecay(1.0, 1, 0.5)
        >>> schedule = kx.schedules.Sequential([0.25, decay, decay], [2, 4])
        >>> [float(schedule(step)) for step in range(6)]
        [0.25, 0.25, 1.0, 0.5, 1.0, 0.5]
    """

    def __init__(
        self,
        schedules: Sequence[float | LearningRateSchedule],
        boundaries: Sequence[int],
    ) -> None:
        several = isinstance(schedules, list | tuple) and len(schedules) >= 2
        require(several, "schedules", schedules, "a list of two or more schedules")
        self.schedules = [schedule_or_number(s, "schedules") for s in schedules]
        self.boundaries = integers(boundaries, "boundaries", low=1)
        count = len(self.schedules) - 1
        valid = len(self.boundaries) == count
        valid = valid and sorted(set(self.boundaries)) == self.boundaries
        rule = f"{count} integers >= 1, each larger than the one before"
        require(valid, "boundaries", boundaries, rule)

    def value(self, step: Tensor) -> Tensor:
        first, *others = self.schedules
        rate = value_at(first, ops.minimum(step, float(self.boundaries[0])))
        for schedule, begin in zip(others, self.boundaries, strict=True):
            # Not before its beginning: some are not defined there.
            own = value_at(schedule, ops.maximum(step - begin, 0.0))
            rate = ops.where(step < begin, rate, own)
        return rate
