"""Batch sizes that are known in advance."""

from collections.abc import Sequence

from keras_ext.core._checks import is_integer, require


class Staged:
    """Multiplies the batch size by factors that start at given epochs.

    Args:
        stages: Pairs `(epoch, factor)` with increasing epochs, counted from 0, and
            integer factors >= 1. Before the first one the factor is 1.

    Raises:
        ValueError: If the stages are not of this form.

    Examples:
        >>> import keras_ext as kx
        >>> policy = kx.controllers.batch_size.Staged([(2, 4), (3, 16)])
        >>> [policy.update(epoch=epoch) for epoch in range(5)]
        [1, 1, 4, 16, 16]
    """

    def __init__(self, stages: Sequence[tuple[int, int]]) -> None:
        expected = "a list of (epoch, factor) with increasing epochs and factors >= 1"
        valid = isinstance(stages, list | tuple) and all(
            isinstance(stage, list | tuple)
            and len(stage) == 2
            and all(is_integer(x) for x in stage)
            and stage[0] >= 0
            and stage[1] >= 1
            for stage in stages
        )
        require(valid and len(stages) > 0, "stages", stages, expected)
        epochs = [epoch for epoch, _ in stages]
        require(epochs == sorted(set(epochs)), "stages", stages, expected)
        self.stages = [tuple(stage) for stage in stages]

    @property
    def largest(self) -> int:
        """The largest factor that `update` can return."""
        return max(factor for _, factor in self.stages)

    def update(self, epoch: int, noise_scale: float = float("nan")) -> int:
        """Returns the factor for an epoch.

        Args:
            epoch: The epoch that is about to start, counted from 0.
            noise_scale: Ignored; the stages are fixed.

        Returns:
            The factor of the last stage that has begun.
        """
        begun = [factor for start, factor in self.stages if start <= epoch]
        return begun[-1] if begun else 1
