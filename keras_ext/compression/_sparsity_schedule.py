"""What the schedules of sparsity have in common."""

from keras import ops

from keras_ext._core._checks import integer, require
from keras_ext._core._described import Described
from keras_ext._core._typing import Tensor


class SparsitySchedule(Described):
    """Says before which steps masks are renewed, and how sparse they are then.

    Steps are updates of the optimizer, counted from 1: those of all trainings of the
    model with it, as `optimizer.iterations` counts them, but not micro-batches.

    Called inside the compiled step and on the host, so it computes with `keras.ops`, in
    float32. `PolynomialDecay` and `ConstantSparsity` are such; to write one, override
    `sparsity`.

    Args:
        begin_step: Integer >= 0, the first step at which weights may be pruned; with 0
            that is step `frequency`.
        end_step: The last one, an integer; -1 for no end.
        frequency: Integer >= 1, the steps between two renewals. Defaults to `100`.

    Raises:
        ValueError: If one of them is not of this form, or the end is before the begin.

    Examples:
        >>> import keras_ext as kx
        >>> class Halves(kx.compression.SparsitySchedule):
        ...     def sparsity(self, step):
        ...         return 0.5
        >>> schedule = Halves(begin_step=10, end_step=20, frequency=5)
        >>> [step for step in range(30) if schedule.is_due(step)]
        [10, 15, 20]
    """

    def __init__(self, *, begin_step: int, end_step: int, frequency: int = 100) -> None:
        self.begin_step = integer(begin_step, "begin_step", low=0)
        self.end_step = integer(end_step, "end_step", low=-1)
        self.frequency = integer(frequency, "frequency", low=1)
        fits = self.end_step == -1 or self.end_step >= self.begin_step
        rule = f"-1, or at least begin_step={self.begin_step}"
        require(fits, "end_step", end_step, rule)

    def sparsity(self, step: Tensor) -> Tensor:
        """Returns the share of zeros in a step, in [0, 1)."""
        raise NotImplementedError(f"{type(self).__name__} must override sparsity().")

    def is_due(self, step: Tensor) -> Tensor:
        """Returns whether masks are renewed before a step."""
        since = step - self.begin_step
        within = ops.logical_and(since >= 0, ops.equal(since % self.frequency, 0))
        if self.end_step == -1:
            return within
        return ops.logical_and(within, step <= self.end_step)

    @property
    def first_due(self) -> int:
        """The first step before which masks are renewed."""
        # Steps count from 1, so that a begin at 0 is first met a period later.
        return self.begin_step or self.frequency

    @property
    def last_due(self) -> int:
        """The last step before which masks are renewed; without an end, the first."""
        if self.end_step == -1:
            return self.first_due
        periods = (self.end_step - self.begin_step) // self.frequency
        return self.begin_step + periods * self.frequency
