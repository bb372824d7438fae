"""The oracle of KerasTuner that stops a cross-validation which is behind."""

import math
import statistics
from collections.abc import Sequence

from keras_tuner.engine.trial import Trial

from keras_ext.tuner._objectives import cost_of, parts_of
from keras_ext.tuner._stored_oracle import STOPPED
from keras_ext.tuner._synchronized import synchronized
from keras_ext.tuner._tolerant_oracle import TolerantOracle

# Under this name the scores of the folds are kept with each trial.
FOLDS = "folds"
# What Student's t is below of in 95 % of all cases, by degrees of freedom.
_T = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833)


class FoldingOracle(TolerantOracle):
    """Compares trials on the folds that they have in common."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._judged: dict[str, float] = {}

    @synchronized
    def judge_fold(self, trial_id: str, value: float, fold: int, count: int) -> bool:
        """Takes the score of a fold, and says whether the others are not worth it.

        Args:
            trial_id: The trial.
            value: Its score on the fold.
            fold: Which fold, from 0.
            count: How many there are.

        Returns:
            Whether the trial is worse than the best one on their common folds, by
            more than chance allows. It then counts as that much worse than the best.
        """
        trial = self.trials[trial_id]
        self._record(trial, {FOLDS: float(value)}, fold)
        self._save_trial(trial)
        best = self._best_of_all_folds(count)
        seen = self._fold_costs(trial)
        if len(parts_of(self.objective)) > 1 or best is None or fold + 1 >= count:
            return False
        others = self._fold_costs(best)[: len(seen)]
        differences = [a - b for a, b in zip(seen, others, strict=True)]
        if not are_above_zero(differences):
            return False
        cost = cost_of(self.objective, best.score) + statistics.fmean(differences)
        # The first folds may be the easy ones.
        self._judged[trial_id] = cost_of(self.objective, cost)
        trial.message = f"{STOPPED} {fold + 1} of {count} folds: trial {best.trial_id} "
        trial.message += "is better on the same ones."
        return True

    def _best_of_all_folds(self, count: int) -> Trial | None:
        done = [t for t in self.trials.values() if t.status == "COMPLETED"]
        done = [t for t in done if len(self._fold_costs(t)) == count]
        if not done or len(parts_of(self.objective)) > 1:
            return None
        return min(done, key=lambda t: cost_of(self.objective, t.score))

    def _fold_costs(self, trial: Trial) -> list[float]:
        if not trial.metrics.exists(FOLDS):
            return []
        seen = trial.metrics.get_history(FOLDS)
        # Of a fold that was reported twice, as after an interruption, the last.
        return [cost_of(self.objective, float(o.value[-1])) for o in seen]

    def _record(self, trial: Trial, metrics: dict[str, float], step: int) -> None:
        """For subclasses: keeps what was measured."""
        raise NotImplementedError


def are_above_zero(differences: Sequence[float]) -> bool:
    """Whether the mean of numbers is above 0, by a t-test at 5 %.

    A number that is not finite is above all others.

    Examples:
        >>> from keras_ext.tuner._folding_oracle import are_above_zero
        >>> are_above_zero([0.5, 0.6, 0.4]), are_above_zero([0.5, -0.6, 0.4])
        (True, False)
    """
    if any(not math.isfinite(d) for d in differences):
        return True
    if len(differences) < 2:
        return False
    mean = statistics.fmean(differences)
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    # The last of them stands for more folds, too, for which t is smaller: to be
    # careful.
    bound = _T[min(len(differences) - 1, len(_T)) - 1]
    return mean > 0 and mean > bound * error
