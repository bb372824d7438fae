"""Proposals by a Gaussian process that also learns from trials that were stopped."""

import math
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner import Objective
from keras_tuner.engine.trial import Trial
from scipy.stats import qmc

from keras_ext._core._checks import integer
from keras_ext._core._typing import Record
from keras_ext.tuner._encoded_space import EncodedSpace
from keras_ext.tuner._objectives import cost_of, require_single
from keras_ext.tuner._oracle import Oracle
from keras_ext.tuner._surrogate import Row, Surrogate

# Of each hyperparameter so many first points, but no more than all of these.
_FIRST_EACH, _FIRST = 3, 18
# Of a curve, the model sees the best so far at these epochs, and at the end.
_SEEN = frozenset(3**power for power in range(20))
# The parameters of the model are fitted again when there are so many more trials.
_MORE = 1.1


class GaussianProcessOracle(Oracle):
    """Proposes by a Gaussian process, which also learns from trials that were stopped.

    The model is of the objective by hyperparameters and by the logarithm of the epochs:
    a trial that was stopped after three epochs says what three epochs are worth, not
    what the training is. The first configurations are a scrambled Sobol sequence. Each
    later one has the largest expected improvement after as many epochs as the longest
    training so far. A configuration that failed counts as the worst that was seen;
    those that are running count as what the model expects of them. None is tried twice.

    Take it where a trial is expensive. A proposal takes tens of milliseconds.

    Args:
        objective: What is logged, as `"val_accuracy"`, a `keras_tuner.Objective`, or
            None for the number that is returned.
        max_trials: Integer >= 1 or None, how many configurations are tried. Defaults to
            `10`.
        hyperparameters: A `keras_tuner.HyperParameters` with what is declared before
            the first trial. None means nothing.
        num_initial_points: Integer >= 1, how many configurations come before the model.
            None means 3 for each hyperparameter, but no more than 18, nor than half of
            `max_trials`.
        seed: Integer, the seed of all draws. None means random.
        **kwargs: Other arguments of `Oracle`, such as `scheduler` and `time_budget`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import tempfile
        >>> import keras_ext as kx
        >>> class Valley(kx.tuner.Tuner):
        ...     def run_trial(self, trial, **kwargs):
        ...         hp = trial.hyperparameters
        ...         x, y = (hp.Float(name, -2.0, 2.0) for name in "xy")
        ...         return (x - y) ** 2 + 0.1 * x**2
        >>> oracle = kx.tuner.GaussianProcessOracle(max_trials=20, seed=0)
        >>> search = Valley(oracle, directory=tempfile.mkdtemp())
        >>> search.search(verbose=0)
        >>> oracle.get_best_trials()[0].score < 0.05
        True

    References:
        - [Jones et al., 1998](https://doi.org/10.1023/A:1008306431147)
        - [Swersky et al., 2014, on trainings that go on](https://arxiv.org/abs/1406.3896)
    """

    def __init__(
        self,
        objective: str | Objective | None = None,
        max_trials: int | None = 10,
        *,
        hyperparameters: keras_tuner.HyperParameters | None = None,
        num_initial_points: int | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            require_single(objective),
            max_trials,
            hyperparameters=hyperparameters,
            seed=seed,
            **kwargs,
        )
        self.num_initial_points = integer(
            num_initial_points, "num_initial_points", low=1, optional=True
        )
        # The parameters of the model, and with how many trials they were fitted.
        self._fitted: tuple[list[float], int] = [], 0
        # By trial, where it is in the space as it was then.
        self._placed: dict[str, np.ndarray] = {}
        # Of trials that have ended, what the model sees of their curves.
        self._curves: dict[str, list[tuple[int, float]]] = {}

    def populate_space(self, trial_id: str) -> Record:
        values = self._next_queued()
        if values is None:
            values = self._proposed_values()
        status = "STOPPED" if values is None else "RUNNING"
        return {"status": status, "values": values}

    def _proposed_values(self) -> Record | None:
        space = EncodedSpace(self.hyperparameters.space)
        if not space.searched:
            return self._random_values()
        for place in self._places(space):
            values = space.values(place)
            if not self._duplicate(values):
                return values
        # The model is sure; what else is there may be tried all the same.
        return self._random_values()

    def _places(self, space: EncodedSpace) -> np.ndarray:
        """Where the next trial may be, the best place first."""
        count = len(self.start_order)
        done = [t for t in self.trials.values() if t.status == "COMPLETED"]
        if count < self._initial_points(space) or len(done) < 2:
            sequence = qmc.Sobol(len(space.searched), rng=self.seed)
            return sequence.random_base2(count.bit_length())[count : count + 1]
        surrogate = self._surrogate(space)
        return surrogate.candidates(np.random.default_rng([self.seed, count]))

    def _initial_points(self, space: EncodedSpace) -> int:
        if self.num_initial_points is not None:
            return self.num_initial_points
        wanted = min(_FIRST_EACH * len(space.searched), _FIRST)
        return wanted if self.max_trials is None else min(wanted, self.max_trials // 2)

    def _surrogate(self, space: EncodedSpace) -> Surrogate:
        """The model of all that the trials have shown."""
        surrogate = Surrogate(space, self._rows(space))
        count = len(self.end_order)
        parameters, then = self._fitted
        # A trial may have found hyperparameters that were not there.
        is_same = len(parameters) == surrogate.number_of_parameters
        again = not is_same or count >= _MORE * then
        surrogate.fit(parameters if is_same else None, again=again)
        if again:
            self._fitted = surrogate.parameters, count
        running = self.ongoing_trials.values()
        surrogate.expect([self._place(space, trial) for trial in running])
        return surrogate

    def _place(self, space: EncodedSpace, trial: Trial) -> np.ndarray:
        known = self._placed.get(trial.trial_id)
        if known is None or len(known) != len(space.searched):
            known = space.places(trial.hyperparameters.values)
            self._placed[trial.trial_id] = known
        return known

    def _rows(self, space: EncodedSpace) -> list[Row]:
        found, failed = [], []
        for trial in self.trials.values():
            place = self._place(space, trial)
            if trial.status == "FAILED":
                failed.append(place)
            known = self._curves.get(trial.trial_id)
            curve = self._curve(trial) if known is None else known
            found += [Row(place, *seen) for seen in curve]
        worst = max(row.cost for row in found)
        longest = max(row.epochs for row in found)
        return found + [Row(place, longest, worst) for place in failed]

    def _curve(self, trial: Trial) -> list[tuple[int, float]]:
        """The best costs after some numbers of epochs."""
        best, costs = math.inf, dict[int, float]()
        if trial.metrics.exists(self.objective.name):
            for seen in trial.metrics.get_history(self.objective.name):
                cost = cost_of(self.objective, float(seen.value[0]))
                best = min(best, cost if math.isfinite(cost) else math.inf)
                costs[int(seen.step) + 1] = best
        last = max(costs, default=1)
        if trial.status == "COMPLETED":
            costs[last] = cost_of(self.objective, trial.score)
        return [
            (epochs, cost)
            for epochs, cost in costs.items()
            if (epochs in _SEEN or epochs == last) and math.isfinite(cost)
        ]

    def _ended(self, trial: Trial) -> None:
        super()._ended(trial)
        self._curves[trial.trial_id] = self._curve(trial)

    def get_state(self) -> Record:
        return {**super().get_state(), "model": self._fitted}

    def set_state(self, state: Record) -> None:
        super().set_state(state)
        self._fitted = tuple(state.get("model", self._fitted))
