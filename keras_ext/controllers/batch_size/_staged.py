"""Batch sizes that are known in advance."""

from collections.abc import Sequence

from keras_ext._core._checks import is_integer, require
from keras_ext.controllers.batch_size._batch_size_policy import (
    BatchSizePolicy,
    Measured,
)


class Staged(BatchSizePolicy):
    """Multiplies the batch size by factors that start at given epochs.

    A stage may also hand over to another policy, which goes on from the size that it
    finds: first a fixed small batch, then one that follows the noise.

    Args:
        stages: Pairs `(epoch, factor)` with increasing epochs, counted from 0, and
            integer factors >= 1 of the initial size, or policies in their place.
            Before the first one the factor is 1.

    Raises:
        ValueError: If the stages are not of this form.

    Examples:
        >>> import keras_ext as kx
        >>> from keras_ext.controllers.batch_size import Measured
        >>> policy = kx.controllers.batch_size.Staged([(2, 4), (3, 16)])
        >>> [policy.update(Measured(32, 32, epoch=epoch)) for epoch in range(5)]
        [32, 32, 128, 512, 512]
    """

    def __init__(self, stages: Sequence[tuple[int, int | BatchSizePolicy]]) -> None:
        super().__init__(shrink=True)
        check_stages(stages, "stages")
        self.stages = [(epoch, what) for epoch, what in stages]

    @property
    def _policies(self) -> list[BatchSizePolicy]:
        return [x for _, x in self.stages if isinstance(x, BatchSizePolicy)]

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset().union(*(policy.needs for policy in self._policies))

    @property
    def sets_learning_rate(self) -> bool:  # type: ignore[override]
        return any(policy.sets_learning_rate for policy in self._policies)

    @property
    def largest_factor(self) -> float:
        factors: list[float] = [policy.largest_factor for policy in self._policies]
        factors += [x for _, x in self.stages if not isinstance(x, BatchSizePolicy)]
        return max(factors)

    def _stage(self, measured: Measured) -> int | BatchSizePolicy:
        begun = [stage for start, stage in self.stages if start <= measured.epoch]
        return begun[-1] if begun else 1

    def update(self, measured: Measured) -> float:
        stage = self._stage(measured)
        if isinstance(stage, BatchSizePolicy):
            return stage.update(measured)
        return stage * measured.initial_batch_size

    def learning_rate_gain(self, measured: Measured, batch_size: float) -> float | None:
        stage = self._stage(measured)
        if isinstance(stage, BatchSizePolicy):
            return stage.learning_rate_gain(measured, batch_size)
        return None


def check_stages(
    stages: Sequence[tuple[int, int | BatchSizePolicy]], name: str
) -> None:
    """Raises a `ValueError` that names the argument, unless these can be stages."""
    expected = "a list of (epoch, factor) with increasing epochs and factors >= 1"
    valid = isinstance(stages, list | tuple) and all(map(_is_stage, stages))
    require(valid and len(stages) > 0, name, stages, expected)
    epochs = [epoch for epoch, _ in stages]
    require(epochs == sorted(set(epochs)), name, stages, expected)


def _is_stage(stage: object) -> bool:
    if not isinstance(stage, list | tuple) or len(stage) != 2:
        return False
    epoch, what = stage
    grows = isinstance(what, BatchSizePolicy) or (is_integer(what) and what >= 1)
    return is_integer(epoch) and epoch >= 0 and grows
