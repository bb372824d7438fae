"""The same sparsity all the time."""

import warnings

from keras import ops

from keras_ext._core._checks import number, require
from keras_ext._core._typing import Tensor
from keras_ext.compression._sparsity_schedule import SparsitySchedule


class ConstantSparsity(SparsitySchedule):
    """Prunes to the same sparsity at each renewal.

    Arguments, steps and values are those of tensorflow-model-optimization. With
    `begin_step=1` a trained model is pruned at once and tuned afterwards; a later
    begin lets it train densely first.

    Args:
        target_sparsity: Number in [0, 1), the share of zeros in the pruned weights.
        begin_step: Integer >= 0, the first step at which weights may be pruned, counted
            in updates of the optimizer, from 1; with 0 that is step `frequency`.
        end_step: The last one, an integer; -1 for no end. Masks stay as they are after
            it. Defaults to `-1`.
        frequency: Integer >= 1, the steps between two renewals. Defaults to `100`.

    Raises:
        ValueError: If one of them is not of this form, or the end is before the begin.

    Examples:
        >>> import keras_ext as kx
        >>> schedule = kx.compression.ConstantSparsity(0.5, begin_step=200)
        >>> [step for step in range(500) if schedule.is_due(step)]
        [200, 300, 400]
    """

    def __init__(
        self,
        target_sparsity: float,
        *,
        begin_step: int,
        end_step: int = -1,
        frequency: int = 100,
    ) -> None:
        super().__init__(begin_step=begin_step, end_step=end_step, frequency=frequency)
        self.target_sparsity = number(
            target_sparsity, "target_sparsity", low=0, below=1
        )

    def sparsity(self, step: Tensor) -> Tensor:
        return ops.convert_to_tensor(self.target_sparsity, "float32")


def require_share(schedule: SparsitySchedule, m_by_n: tuple[int, int] | None) -> None:
    """Raises unless a schedule has the sparsity of a pattern, if there is one."""
    if m_by_n is None:
        return
    share = m_by_n[0] / m_by_n[1]
    target = getattr(schedule, "target_sparsity", -1.0)
    # A share such as 1/3 is rarely written with all of its digits.
    fits = isinstance(schedule, ConstantSparsity) and abs(target - share) < 1e-6
    rule = f"a ConstantSparsity of {share:g}, as m_by_n={m_by_n} has it"
    require(fits, "schedule", type(schedule).__name__, rule)


def require_end(schedule: SparsitySchedule, updates: int) -> None:
    """Raises if a schedule ends later than there are updates, or warns if too early.

    Args:
        schedule: The schedule.
        updates: How many updates there will be at most, with those that there were.
    """
    last = schedule.last_due
    rule = f"one that ends within the {updates} updates that there will be at most"
    hint = f"Its masks are last renewed before step {last}: begin or end earlier, "
    hint += "renew more often, or train longer."
    require(last <= updates, "schedule", type(schedule).__name__, rule, hint)
    end = schedule.end_step
    if last < end and not isinstance(schedule, ConstantSparsity):
        warnings.warn(
            f"Prune: masks are last renewed before step {last} and not before "
            f"end_step={end}, which the frequency does not meet. The "
            f"sparsity will be {float(schedule.sparsity(last)):.3f}.",
            stacklevel=3,
        )
