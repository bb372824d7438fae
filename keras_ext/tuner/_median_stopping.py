"""Stops what is worse than most others were at the same epoch."""

import math
import statistics

from keras_ext._core._checks import integer
from keras_ext._core._described import Described


class MedianStopping(Described):
    """Stops a trial whose best so far is worse than the median of the ended ones.

    At each epoch, the best objective that the trial has had is compared with what the
    trials that have ended had at this epoch. It is milder than `ASHA`: about half of
    the trials run to their end, and curves that cross late are rarely cut.

    Pass it as `scheduler` to an oracle or a tuner.

    Args:
        grace_epochs: Integer >= 0, the first epochs, at which nothing is stopped.
            Defaults to `1`.
        grace_trials: Integer >= 1, how many trials end before one is stopped. Defaults
            to `5`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras_ext as kx
        >>> rule = kx.tuner.MedianStopping(0, grace_trials=2)
        >>> for trial, cost in (("a", 1.0), ("b", 3.0)):
        ...     assert not rule.report(trial, 1, cost)
        ...     rule.end(trial)
        >>> rule.report("c", 1, 1.9), rule.report("d", 1, 2.1)  # the median is 2
        (False, True)

    References:
        - [Golovin et al., 2017, section 3.2](https://doi.org/10.1145/3097983.3098043)
    """

    def __init__(self, grace_epochs: int = 1, *, grace_trials: int = 5) -> None:
        self.grace_epochs = integer(grace_epochs, "grace_epochs", low=0)
        self.grace_trials = integer(grace_trials, "grace_trials", low=1)
        self._costs: dict[str, dict[int, float]] = {}
        self._ended: set[str] = set()

    def report(
        self, trial: str, epoch: int, cost: float, *, left: int | None = None
    ) -> bool:
        """Takes what a trial has reached, and says whether to stop it.

        Args:
            trial: Any name of the trial.
            epoch: How many epochs it was trained.
            cost: The objective, such that less is better. What is not finite is the
                worst.
            left: How many trials are yet to begin, which changes nothing here.

        Returns:
            Whether the trial shall stop.
        """
        own = self._costs.setdefault(trial, {})
        own[epoch] = cost if math.isfinite(cost) else math.inf
        ended = [self._costs[other] for other in self._ended if other != trial]
        at_epoch = [costs[epoch] for costs in ended if epoch in costs]
        if epoch <= self.grace_epochs or len(ended) < self.grace_trials or not at_epoch:
            return False
        return min(own.values()) > statistics.median(at_epoch)

    def rewind(self, trial: str, epoch: int) -> None:
        """Forgets what a trial has reached after so many epochs."""
        self._ended.discard(trial)
        own = self._costs.get(trial, {})
        self._costs[trial] = {e: cost for e, cost in own.items() if e <= epoch}

    def end(self, trial: str) -> None:
        """Takes note that a trial has ended: from now on it is compared with."""
        if trial in self._costs:
            self._ended.add(trial)
