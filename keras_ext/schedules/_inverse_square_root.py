"""A learning rate that falls with the root of time."""

import keras
from keras import ops

from keras_ext._core._checks import integer, number, require
from keras_ext._core._typing import Tensor
from keras_ext.schedules._schedule import Schedule


@keras.saving.register_keras_serializable(package="keras_ext")
class InverseSquareRoot(Schedule):
    """Warms up, and then falls as 1 over the square root of the number of updates.

    Use it for a transformer, and where it is not known how long it will train. With
    the `learning_rate` `(units * warmup_steps) ** -0.5` it is the schedule of the
    paper below. The warm-up is linear, from 0.

    Args:
        learning_rate: Number > 0, the largest rate, at the end of the warm-up.
        warmup_steps: Integer >= 0, the updates of the warm-up.
        timescale: Number > 0, how slowly it falls: three times as many updates after
            the warm-up it has halved. None means `warmup_steps`.

    Raises:
        ValueError: If an argument is out of range, or `warmup_steps` is 0 without a
            `timescale`.

    Examples:
        >>> import keras_ext as kx
        >>> schedule = kx.schedules.InverseSquareRoot(1.0, warmup_steps=4)
        >>> [round(float(schedule(step)), 2) for step in (0, 2, 4, 16, 64)]
        [0.0, 0.5, 1.0, 0.5, 0.25]

    References:
        - [Vaswani et al., 2017](https://arxiv.org/abs/1706.03762)
    """

    def __init__(
        self, learning_rate: float, warmup_steps: int, *, timescale: float | None = None
    ) -> None:
        self.learning_rate = number(learning_rate, "learning_rate", above=0)
        self.warmup_steps = integer(warmup_steps, "warmup_steps", low=0)
        self.timescale = number(timescale, "timescale", above=0, optional=True)
        known = self.warmup_steps > 0 or self.timescale is not None
        rule = "an integer >= 1 without a timescale"
        require(known, "warmup_steps", warmup_steps, rule)

    def value(self, step: Tensor) -> Tensor:
        scale = self.warmup_steps if self.timescale is None else self.timescale
        late = ops.maximum(step - self.warmup_steps, 0.0)
        rate = self.learning_rate * ops.rsqrt((late + scale) / scale)
        if self.warmup_steps == 0:
            return rate
        return rate * ops.minimum(step / self.warmup_steps, 1.0)
