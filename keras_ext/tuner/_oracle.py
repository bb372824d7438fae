"""The oracle of KerasTuner, repaired: which configurations are tried, which goes on."""

import copy
import inspect
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import keras_tuner
import numpy as np
from keras_tuner import Objective
from keras_tuner.engine.trial import Trial

from keras_ext._core._checks import checked_seed, flag, integer, number, require
from keras_ext._core._described import Described
from keras_ext.tuner._draws import draw
from keras_ext.tuner._folding_oracle import FoldingOracle
from keras_ext.tuner._objectives import (
    cost_of,
    direction_of,
    objective_of,
    parts_of,
)
from keras_ext.tuner._pareto import front_numbers, rank_sums
from keras_ext.tuner._stored_oracle import ENDED, STOPPED, Value
from keras_ext.tuner._synchronized import synchronized


@runtime_checkable
class Scheduler(Protocol):
    """What stops trials early: `ASHA`, `MedianStopping` or one of your own."""

    def report(
        self, trial: str, epoch: int, cost: float, *, left: int | None = None
    ) -> bool:
        """Takes what a trial has reached, and says whether to stop it."""

    def rewind(self, trial: str, epoch: int) -> None:
        """Forgets what a trial has reached after so many epochs."""

    def end(self, trial: str) -> None:
        """Takes note that a trial has ended."""


class Oracle(Described, FoldingOracle):
    """Decides which configurations are tried, and when a trial is stopped.

    A `keras_tuner.Oracle`, and the base of those here. A subclass overrides
    `populate_space`, as in KerasTuner. What this class changes:

    - The direction of an objective given by name comes from a table; a name that it
      does not know is an error. KerasTuner minimizes F1, R2 and IoU.
    - A value is drawn by seed, trial and hyperparameter. Of KerasTuner, neighbouring
      seeds give the same configurations, and `seed=0` none in particular.
    - A trial whose objective is never finite has failed. It says so in its message, and
      does not end the search once another trial has completed.
    - With several objectives, the best trials are those of the Pareto front, first the
      one with the smallest sum of ranks. Of each trial counts the epoch at which the
      sum of the objectives is best, as in KerasTuner. A failed trial is in no front.
    - Files are replaced as a whole, so that a process that is killed leaves a project
      that can be opened. What a file lacks is found in those of the trials.
    - An exception leaves no lock behind.

    Args:
        objective: What is logged, as `"val_accuracy"`, a `keras_tuner.Objective`, a
            list of these, or None for the number that `run_trial` or `HyperModel.fit`
            returns, which is minimized.
        max_trials: Integer >= 1 or None, how many configurations are tried. None means
            until the space is exhausted.
        hyperparameters: A `keras_tuner.HyperParameters` with what is declared before
            the first trial. None means nothing.
        allow_new_entries: Whether a hypermodel may ask for hyperparameters that are not
            declared. If not, no model is built to find them before the search.
            Defaults to `True`.
        tune_new_entries: Whether those are searched, too. If not, they keep their
            defaults. Defaults to `True`.
        seed: Integer, the seed of all draws. None means random.
        max_retries_per_trial: Integer >= 0, how often a trial that failed is run again.
            Defaults to `0`.
        max_consecutive_failed_trials: Integer >= 1, how many trials may fail one after
            the other before the search ends with an error. Defaults to `3`.
        scheduler: What stops trials that promise nothing, as `ASHA` or
            `MedianStopping`. It needs a single objective that is logged at each epoch.
            None means that all trials run to their end.
        time_budget: Number > 0, the seconds after which no further trial begins, those
            before an interruption included. None means no limit.
        **more: Arguments of the class of KerasTuner that a subclass derives from.

    Raises:
        ValueError: If an argument is out of range, or the direction of an objective is
            not known.

    Examples:
        >>> import keras_ext as kx
        >>> oracle = kx.tuner.Oracle("val_f1_score", 10, seed=0)
        >>> oracle.objective.direction
        'max'
    """

    def __init__(  # noqa: PLR0913 - those of KerasTuner
        self,
        objective: str | Objective | Sequence[str | Objective] | None = None,
        max_trials: int | None = None,
        *,
        hyperparameters: keras_tuner.HyperParameters | None = None,
        allow_new_entries: bool = True,
        tune_new_entries: bool = True,
        seed: int | None = None,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int = 3,
        scheduler: Scheduler | None = None,
        time_budget: float | None = None,
        **more: object,
    ) -> None:
        limit = integer(max_trials, "max_trials", low=1, optional=True)
        seed = checked_seed(seed)
        super().__init__(
            objective=objective_of(objective),
            hyperparameters=_checked_space(hyperparameters),
            allow_new_entries=flag(allow_new_entries, "allow_new_entries"),
            tune_new_entries=flag(tune_new_entries, "tune_new_entries"),
            seed=seed,
            max_retries_per_trial=integer(
                max_retries_per_trial, "max_retries_per_trial", low=0
            ),
            max_consecutive_failed_trials=integer(
                max_consecutive_failed_trials, "max_consecutive_failed_trials", low=1
            ),
            **more,
        )
        # Not given above: Hyperband does not take it, and None is 10 to others.
        self.max_trials = limit
        self.seed = self.seed if seed is None else seed  # KerasTuner takes 0 for None
        self.scheduler = _checked_scheduler(scheduler, self.objective)
        self.time_budget = number(time_budget, "time_budget", above=0, optional=True)

    def _random_values(self) -> dict[str, Value] | None:
        for attempt in range(self._max_collisions + 1):
            found = keras_tuner.HyperParameters()
            for hp in self.hyperparameters.space:
                found.merge([hp])
                if found.is_active(hp):
                    where = draw(self.seed, len(self.start_order), attempt, hp.name)
                    found.values[hp.name] = hp.prob_to_value(where)
            if not self._duplicate(found.values):
                return found.values
        return None

    @synchronized
    def create_trial(self, tuner_id: str) -> Trial:
        if self.time_budget is not None and self.seconds() >= self.time_budget:
            self.tuner_ids.discard(tuner_id)
            return Trial(self.get_space(), trial_id="", status="STOPPED")
        return super().create_trial(tuner_id)

    @synchronized
    def update_trial(
        self, trial_id: str, metrics: dict[str, float], step: int = 0
    ) -> Trial:
        """Takes what was measured at an epoch, and answers with the trial.

        Returns:
            The trial; a copy of it with the status `"STOPPED"` if it shall not go on.
        """
        trial = self.trials[trial_id]
        self._check_objective_found(metrics)
        self._record(trial, metrics, step)
        self._show(trial, int(step))
        self._save_trial(trial)
        if self.scheduler is None or len(parts_of(self.objective)) > 1:
            return trial
        # Trials are compared by their first execution, or fold: the others begin again
        # with the first epoch.
        if len(self._values_at(trial, int(step))) > 1:
            return trial
        cost = cost_of(self.objective, float(metrics[self.objective.name]))
        left = self._trials_left()
        if not self.scheduler.report(trial_id, int(step) + 1, cost, left=left):
            return trial
        rule = type(self.scheduler).__name__
        trial.message = f"{STOPPED} {int(step) + 1} epochs by {rule}."
        # The trial itself is running until it has ended, whoever reads its file.
        stopped = copy.copy(trial)
        stopped.status = "STOPPED"
        return stopped

    def _trials_left(self) -> int | None:
        """How many trials are yet to begin; None without a limit."""
        if self.max_trials is None:
            return None
        return max(0, self.max_trials - len(self.start_order))

    def _values_at(self, trial: Trial, step: int) -> list[float]:
        """What the executions of a trial have reached at an epoch."""
        seen = trial.metrics.get_history(self.objective.name)
        return next((list(o.value) for o in seen if o.step == step), [])

    def _record(self, trial: Trial, metrics: dict[str, float], step: int) -> None:
        directions = {o.name: o.direction for o in parts_of(self.objective)}
        for name, value in metrics.items():
            if not trial.metrics.exists(name):
                direction = directions.get(name) or direction_of(name) or "min"
                trial.metrics.register(name, direction=direction)
            # Not through `trial.metrics`, which warns of values that are all NaN.
            trial.metrics.metrics[name].update(float(value), step=step)

    @synchronized
    def conclude(self, trial_id: str, metrics: dict[str, float], step: int) -> None:
        """Takes the result of a whole trial, whatever its epochs have said.

        Args:
            trial_id: The trial.
            metrics: The values by name, that of the objective among them.
            step: The epoch that they are of.
        """
        trial = self.trials[trial_id]
        new = {n: v for n, v in metrics.items() if not trial.metrics.exists(n)}
        self._record(trial, new, step)
        value = self._judged.pop(trial_id, float(metrics[self.objective.name]))
        self._results[trial_id] = value, int(step)
        self._save_trial(trial)

    @synchronized
    def rewind(self, trial_id: str, step: int) -> None:
        """Forgets what a trial has reported from an epoch on: it is rerun."""
        trial = self.trials[trial_id]
        self._results.pop(trial_id, None)
        for name, history in list(trial.metrics.metrics.items()):
            kept = [o for o in history.get_history() if o.step < step]
            trial.metrics.metrics[name] = type(history)(history.direction)
            trial.metrics.metrics[name].set_history(kept)
        if self.scheduler is not None:
            self.scheduler.rewind(trial_id, step)

    @synchronized
    def end_trial(self, trial: Trial | str, status: str = "COMPLETED") -> None:
        """Takes note that a trial has ended.

        Args:
            trial: The trial, with the status that it has; or its name.
            status: The status of a trial that is given by its name. Defaults to
                `"COMPLETED"`.
        """
        if isinstance(trial, str):  # as before version 1.4 of KerasTuner
            trial = self.trials[trial]
            trial.status = status
        super().end_trial(trial)
        ended = self.trials[trial.trial_id]
        if ended.status in ENDED:
            self._ended(ended)
        # Only now: the files and the list of running trials are in order.
        self._raise_if_too_many_failed()

    def _ended(self, trial: Trial) -> None:
        """For subclasses: a trial has ended for good, or is read from its file."""
        if self.scheduler is not None:
            self.scheduler.end(trial.trial_id)

    def get_best_trials(self, num_trials: int = 1) -> list[Trial]:
        if len(parts_of(self.objective)) == 1:
            return super().get_best_trials(num_trials)
        done = [t for t in self.trials.values() if t.status == "COMPLETED"]
        costs = [self._costs(trial) for trial in done]
        # The last key comes first: by fronts, and within a front by ranks.
        order = np.lexsort([rank_sums(costs), front_numbers(costs)]) if done else []
        others = [t for t in self.trials.values() if t.status != "COMPLETED"]
        return [*(done[i] for i in order), *others][:num_trials]

    def pareto_trials(self) -> list[Trial]:
        """The completed trials that no other beats in all objectives at once."""
        done = [t for t in self.trials.values() if t.status == "COMPLETED"]
        fronts = front_numbers([self._costs(trial) for trial in done])
        return [t for t, front in zip(done, fronts, strict=True) if front == 0]

    def _costs(self, trial: Trial) -> list[float]:
        """The values of a completed trial, such that less is better."""
        parts = parts_of(self.objective)
        if len(parts) == 1:
            return [cost_of(parts[0], trial.score)]
        return [cost_of(o, trial.metrics.get_last_value(o.name)) for o in parts]

    def _replay(self) -> None:
        """Tells the scheduler and the sampler of the trials that were read."""
        for trial_id in self.start_order:
            trial = self.trials[trial_id]
            known = trial.metrics.exists(self.objective.name)
            if self.scheduler is not None and known:
                for seen in trial.metrics.get_history(self.objective.name):
                    cost = cost_of(self.objective, float(seen.value[0]))
                    self.scheduler.report(trial_id, int(seen.step) + 1, cost)
            if trial.status in ENDED:
                self._ended(trial)


def _checked_space(
    given: keras_tuner.HyperParameters | None,
) -> keras_tuner.HyperParameters | None:
    valid = given is None or isinstance(given, keras_tuner.HyperParameters)
    require(valid, "hyperparameters", given, "keras_tuner.HyperParameters or None")
    return given


def _checked_scheduler(
    given: Scheduler | None, objective: Objective
) -> Scheduler | None:
    rule = "kx.tuner.ASHA, MedianStopping, an object with their methods, or None"
    require(given is None or _is_scheduler(given), "scheduler", given, rule)
    require(
        given is None or len(parts_of(objective)) == 1,
        "scheduler",
        given,
        "None with several objectives",
        "Give it one, and measure the others.",
    )
    return given


def _is_scheduler(given: object) -> bool:
    """Whether it has the methods of a `Scheduler`, and takes what these are given."""
    if not isinstance(given, Scheduler):
        return False
    try:
        inspect.signature(given.report).bind("trial", 1, 0.0, left=None)
    except TypeError:
        return False
    return True
