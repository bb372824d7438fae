"""A learning rate that stays, between a warm-up and a short decay."""

import keras
from keras import ops

from keras_ext._core._checks import choice, integer, number, require
from keras_ext._core._typing import Tensor
from keras_ext.schedules._anneal import FORMS, anneal
from keras_ext.schedules._schedule import Schedule


@keras.saving.register_keras_serializable(package="keras_ext")
class WarmupStableDecay(Schedule):
    """Warms up, stays, and falls only at the end (WSD, also called trapezoidal).

    Use it if the length of the training may change: you can resume a model trained at
    the stable rate, train it for longer, and decay once at the end. Results are about
    those of a cosine over the same time, which must know the time at the beginning.

    The rate is linear in the warm-up, from 0. After the last update it stays.

    Args:
        learning_rate: Number > 0, the stable rate.
        total_steps: Integer >= 1, how many updates the whole has.
        warmup_steps: Integer >= 0, the updates of the warm-up. Defaults to `0`.
        decay_steps: Integer >= 0, the updates of the decay, at the end. None means a
            fifth of all.
        decay: Its form: `"1-sqrt"`, `"linear"` or `"cos"`. Defaults to `"1-sqrt"`,
            the best one of the second paper.
        final_learning_rate: Number >= 0, the rate at the end. Defaults to `0.0`.

    Raises:
        ValueError: If an argument is out of range, or the warm-up and the decay
            together are longer than the whole.

    Examples:
        >>> import keras_ext as kx
        >>> schedule = kx.schedules.WarmupStableDecay(
        ...     1.0, total_steps=10, warmup_steps=2, decay_steps=4
        ... )
        >>> [round(float(schedule(step)), 2) for step in range(11)]
        [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.29, 0.13, 0.0]

    References:
        - [Hu et al., 2024](https://arxiv.org/abs/2404.06395) (MiniCPM)
        - [Hägele et al., 2024](https://arxiv.org/abs/2405.18392)
    """

    def __init__(
        self,
        learning_rate: float,
        total_steps: int,
        *,
        warmup_steps: int = 0,
        decay_steps: int | None = None,
        decay: str = "1-sqrt",
        final_learning_rate: float = 0.0,
    ) -> None:
        self.learning_rate = number(learning_rate, "learning_rate", above=0)
        self.total_steps = integer(total_steps, "total_steps", low=1)
        self.warmup_steps = integer(warmup_steps, "warmup_steps", low=0)
        self.decay_steps = integer(decay_steps, "decay_steps", low=0, optional=True)
        self.decay = choice(decay, "decay", tuple(FORMS))
        self.final_learning_rate = number(
            final_learning_rate, "final_learning_rate", low=0
        )
        fits = self.warmup_steps + self._decay_steps <= self.total_steps
        rule = f"at least the warm-up and the decay, {self._decay_steps} steps"
        require(fits, "total_steps", total_steps, rule)

    @property
    def _decay_steps(self) -> int:
        return self.total_steps // 5 if self.decay_steps is None else self.decay_steps

    def value(self, step: Tensor) -> Tensor:
        stable = self.learning_rate
        rise = anneal(step, 0, self.warmup_steps, (0.0, stable), "linear")
        begin = self.total_steps - self._decay_steps
        rates = (stable, self.final_learning_rate)
        fall = anneal(step, begin, self.total_steps, rates, self.decay)
        # After the warm-up, `rise` stays at its end.
        return ops.where(step < begin, rise, fall)
