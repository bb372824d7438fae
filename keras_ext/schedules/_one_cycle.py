"""One cycle of the learning rate over a whole training."""

import keras
from keras import ops

from keras_ext._core._checks import choice, flag, integer, number, require
from keras_ext._core._typing import Tensor
from keras_ext.schedules._anneal import anneal
from keras_ext.schedules._schedule import Schedule


@keras.saving.register_keras_serializable(package="keras_ext")
class OneCycle(Schedule):
    """Raises the learning rate to a maximum, and lowers it to almost nothing.

    The rate begins at `max_learning_rate / div_factor`, is at its maximum after the
    share `pct_start` of the updates, and ends at the initial one divided by
    `final_div_factor`. Use it if you know how long you will train: such a cycle often
    ends at a better result than a constant rate in the same time. The momentum is then
    cycled the other way; `keras_ext.callbacks.OneCycle` does both, and gets the number
    of updates from `fit`.

    Names, defaults and values are those of `torch.optim.lr_scheduler.OneCycleLR`. After
    the last update the rate stays.

    Args:
        max_learning_rate: Number > 0, the largest learning rate.
        total_steps: Integer >= 2, how many updates the cycle has.
        pct_start: Number in [0, 1], the share of the updates in which the rate rises;
            at most 0.5 with `three_phase`. Defaults to `0.3`.
        anneal_strategy: `"cos"` or `"linear"`, the form of the rise and of the fall.
            Defaults to `"cos"`.
        div_factor: Number > 0, by what the maximum is divided at the beginning.
            Defaults to `25.0`.
        final_div_factor: Number > 0, by what the initial rate is divided at the end.
            Defaults to `10000.0`.
        three_phase: Whether to fall back to the initial rate as fast as it rose, and to
            use the rest for the way to the end. Defaults to `False`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras_ext as kx
        >>> schedule = kx.schedules.OneCycle(0.1, total_steps=11, pct_start=0.5)
        >>> [round(float(schedule(step)), 4) for step in range(0, 11, 2)]
        [0.004, 0.0437, 0.0971, 0.0827, 0.0292, 0.0]

    References:
        - [Smith and Topin, 2017](https://arxiv.org/abs/1708.07120)
    """

    def __init__(
        self,
        max_learning_rate: float,
        total_steps: int,
        *,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
    ) -> None:
        self.max_learning_rate = number(max_learning_rate, "max_learning_rate", above=0)
        self.total_steps = integer(total_steps, "total_steps", low=2)
        self.pct_start = number(pct_start, "pct_start", low=0, high=1)
        self.anneal_strategy = choice(
            anneal_strategy, "anneal_strategy", ("cos", "linear")
        )
        self.div_factor = number(div_factor, "div_factor", above=0)
        self.final_div_factor = number(final_div_factor, "final_div_factor", above=0)
        self.three_phase = flag(three_phase, "three_phase")
        fits = not three_phase or self.pct_start <= 0.5
        hint = "It falls as long as it rises."
        require(fits, "pct_start", pct_start, "at most 0.5 with three_phase", hint)

    def value(self, step: Tensor) -> Tensor:
        first = self.max_learning_rate / self.div_factor
        rates = (first, self.max_learning_rate, first, first / self.final_div_factor)
        return self.cycle(step, rates)

    def cycle(self, step: Tensor, values: tuple[float, float, float, float]) -> Tensor:
        """Returns where something is that cycles together with the rate.

        Args:
            step: The number of updates.
            values: Its values at the beginning, at the peak, after the fall of a cycle
                of three phases, and at the end.
        """
        first, peak, fallen, last = values
        # As in PyTorch, a phase ends with the last of its updates, which count from 0.
        top = self.pct_start * self.total_steps - 1
        end = self.total_steps - 1
        form = self.anneal_strategy
        rise = anneal(step, 0, top, (first, peak), form)
        if not self.three_phase:
            fall = anneal(step, top, end, (peak, last), form)
            return ops.where(step <= top, rise, fall)
        foot = 2 * top
        fall = anneal(step, top, foot, (peak, fallen), form)
        tail = anneal(step, foot, end, (fallen, last), form)
        return ops.where(step <= top, rise, ops.where(step <= foot, fall, tail))
