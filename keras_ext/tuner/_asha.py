"""Stops what is not among the best at its rungs."""

import math

from keras_ext._core._checks import integer
from keras_ext._core._described import Described


class ASHA(Described):
    """Stops a trial at a rung unless it is among the best of those that reached it.

    Asynchronous successive halving: the rungs are epochs `grace_epochs`,
    `grace_epochs * factor`, `grace_epochs * factor ** 2`, ... A trial that reaches one
    goes on if it is among the best `1 / factor` of all that have reached it so far. No
    trial waits, so it works for trials in sequence and in parallel. Most configurations
    are trained for an epoch or three, few to the end.

    The first ones at a rung, fewer than `factor`, have nothing to be compared with.
    They stop as long as enough trials are to come for about `factor` of these to go on
    from there, and else they go on: a long search does not spend its first epochs on
    what is drawn at random, and a short one trains some configuration to the end.

    Pass it as `scheduler` to an oracle or a tuner. Take a larger `grace_epochs` where
    the first epochs say little, as with a warm-up of the learning rate, and a smaller
    `factor` to be less strict.

    Args:
        grace_epochs: Integer >= 1, the epoch of the first rung. Defaults to `1`.
        factor: Integer >= 2, one in how many goes on. Defaults to `3`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras_ext as kx
        >>> asha = kx.tuner.ASHA(factor=2)
        >>> [asha.report(trial, 1, cost) for trial, cost in zip("abcd", (3, 4, 2, 5))]
        [True, True, False, True]
        >>> asha.report("c", 2, 1.0, left=9)  # the first at this rung, many to come
        True
        >>> asha.report("e", 4, 3.0, left=0)  # the first at the next, nothing to come
        False

    References:
        - [Li et al., 2020](https://arxiv.org/abs/1810.05934)
    """

    def __init__(self, grace_epochs: int = 1, *, factor: int = 3) -> None:
        self.grace_epochs = integer(grace_epochs, "grace_epochs", low=1)
        self.factor = integer(factor, "factor", low=2)
        self._rungs: dict[int, dict[str, float]] = {}

    def report(
        self, trial: str, epoch: int, cost: float, *, left: int | None = None
    ) -> bool:
        """Takes what a trial has reached, and says whether to stop it.

        Args:
            trial: Any name of the trial.
            epoch: How many epochs it was trained.
            cost: The objective, such that less is better. What is not finite is the
                worst.
            left: Integer >= 0, how many trials are yet to begin. None means no limit.

        Returns:
            Whether the trial shall stop.
        """
        if not self._is_rung(epoch):
            return False
        cost = cost if math.isfinite(cost) else math.inf
        rung = self._rungs.setdefault(epoch, {})
        rung[trial] = cost
        if len(rung) < self.factor:
            # Of `factor` squared that come to this rung, `factor` will go on.
            needed = self.factor**2 * (epoch // self.grace_epochs)
            return left is None or left >= needed
        # Equal ones all go on, since none of them is behind.
        return cost > sorted(rung.values())[len(rung) // self.factor - 1]

    def rewind(self, trial: str, epoch: int) -> None:
        """Forgets what a trial has reached after so many epochs."""
        for rung, costs in self._rungs.items():
            if rung > epoch:
                costs.pop(trial, None)

    def end(self, trial: str) -> None:
        """Takes note that a trial has ended, which changes nothing here."""

    def _is_rung(self, epoch: int) -> bool:
        rung = self.grace_epochs
        while rung < epoch:
            rung *= self.factor
        return rung == epoch
