"""A sparsity that grows quickly at first and slowly in the end."""

from keras import ops

from keras_ext._core._checks import integer, number, require
from keras_ext._core._typing import Tensor
from keras_ext.compression._sparsity_schedule import SparsitySchedule


class PolynomialDecay(SparsitySchedule):
    """Grows the sparsity from one value to another, quickly at first.

    The share of weights still to be pruned decays as a power of the time that is left,
    so that most are pruned while there are many to choose from, and the model has
    time to recover. Arguments, steps and values are those of
    tensorflow-model-optimization.

    Args:
        initial_sparsity: Number in [0, 1), the share of zeros at `begin_step`.
        final_sparsity: Number in [0, 1), the share of zeros at `end_step`.
        begin_step: Integer >= 0, the first step at which weights may be pruned, counted
            in updates of the optimizer, from 1; with 0 that is step `frequency`.
        end_step: Integer >= 1, the last one. Masks stay as they are after it. It should
            be a multiple of `frequency` after `begin_step`: otherwise the final
            sparsity is not quite reached, and `Prune` warns.
        power: Number > 0, the power of the decay. Defaults to `3`.
        frequency: Integer >= 1, the steps between two renewals. Defaults to `100`.

    Raises:
        ValueError: If one of them is not of this form, or the end is not after the
            begin.

    Examples:
        >>> import keras_ext as kx
        >>> schedule = kx.compression.PolynomialDecay(
        ...     0.0, 0.8, begin_step=0, end_step=400
        ... )
        >>> [round(float(schedule.sparsity(s)), 3) for s in (0, 100, 200, 400, 900)]
        [0.0, 0.463, 0.7, 0.8, 0.8]

    References:
        - [Zhu & Gupta, 2017](https://arxiv.org/abs/1710.01878)
    """

    def __init__(
        self,
        initial_sparsity: float,
        final_sparsity: float,
        *,
        begin_step: int,
        end_step: int,
        power: float = 3,
        frequency: int = 100,
    ) -> None:
        integer(end_step, "end_step", low=1)
        super().__init__(begin_step=begin_step, end_step=end_step, frequency=frequency)
        later = self.end_step > self.begin_step
        require(later, "end_step", end_step, f"after begin_step={begin_step}")
        self.initial_sparsity = number(
            initial_sparsity, "initial_sparsity", low=0, below=1
        )
        self.final_sparsity = number(final_sparsity, "final_sparsity", low=0, below=1)
        self.power = number(power, "power", above=0)

    def sparsity(self, step: Tensor) -> Tensor:
        # Equation 1 of Zhu & Gupta, in float32 as in tensorflow-model-optimization.
        since = ops.cast(step - self.begin_step, "float32")
        whole = float(self.end_step - self.begin_step)
        done = ops.clip(since / whole, 0.0, 1.0)
        range_ = self.initial_sparsity - self.final_sparsity
        return range_ * ops.power(1.0 - done, float(self.power)) + self.final_sparsity
