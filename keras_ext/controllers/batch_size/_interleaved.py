"""Small and large batches in turn."""

from collections.abc import Sequence

from keras_ext._core._checks import is_integer, require
from keras_ext.controllers.batch_size._batch_size_policy import (
    BatchSizePolicy,
    Measured,
)


class Interleaved(BatchSizePolicy):
    """Goes through a cycle of batch sizes, over and over.

    A mix of small batches, for their noise, and large ones, for their steady
    direction. How long a decision lasts, an epoch or some batches, is the
    `every` of `DynamicBatchSize`.

    Args:
        cycle: Pairs `(factor, times)`: multiply the initial size by `factor`, an
            integer >= 1, for as many decisions, an integer >= 1.

    Raises:
        ValueError: If the cycle is not of this form.

    Examples:
        >>> import keras_ext as kx
        >>> from keras_ext.controllers.batch_size import Measured
        >>> policy = kx.controllers.batch_size.Interleaved([(1, 3), (8, 1)])
        >>> [policy.update(Measured(32, 32)) for _ in range(6)]
        [32, 32, 32, 256, 32, 32]
    """

    def __init__(self, cycle: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        valid = isinstance(cycle, list | tuple) and all(
            isinstance(pair, list | tuple)
            and len(pair) == 2
            and all(is_integer(x) and x >= 1 for x in pair)
            for pair in cycle
        )
        require(
            valid and len(cycle) > 0,
            "cycle",
            cycle,
            "a list of (factor, times), both integers >= 1",
        )
        self.cycle = [tuple(pair) for pair in cycle]
        self._decisions = 0

    @property
    def largest_factor(self) -> float:
        return max(factor for factor, _ in self.cycle)

    def update(self, measured: Measured) -> float:
        factors = [factor for factor, times in self.cycle for _ in range(times)]
        factor = factors[self._decisions % len(factors)]
        self._decisions += 1
        return factor * measured.initial_batch_size
