"""Search by a Gaussian process, that of KerasTuner."""

import warnings
from typing import TYPE_CHECKING

import keras_tuner
import numpy as np
from keras_tuner.oracles import BayesianOptimizationOracle as KerasTunerOracle

from keras_ext._core._checks import integer, number
from keras_ext._core._typing import Record
from keras_ext.tuner._drop_ins import Builder, split
from keras_ext.tuner._objectives import cost_of, require_single
from keras_ext.tuner._oracle import Oracle
from keras_ext.tuner._tuner import Tuner

if TYPE_CHECKING:
    from sklearn.gaussian_process import GaussianProcessRegressor


class BayesianOptimizationOracle(Oracle, KerasTunerOracle):
    """Proposes where the model sees a chance, and learns from failures, too."""

    num_initial_points: int | None

    def populate_space(self, trial_id: str) -> Record:
        number_of_trial = len(self.start_order)
        # By trial: the state of a generator would not survive an interruption.
        sequence = np.random.SeedSequence([self.seed, number_of_trial])
        self._random_state = np.random.RandomState(sequence.generate_state(4))
        given = self.num_initial_points
        self.num_initial_points = given or self._default_initial_points()
        try:
            with warnings.catch_warnings():
                # Of lengths at their bounds: of what makes no difference.
                warnings.filterwarnings("ignore", module="sklearn")
                found = super().populate_space(trial_id)
        finally:
            self.num_initial_points = given
        if found["status"] == "RUNNING" and self._duplicate(found["values"]):
            return self._random_populate_space()
        return found

    def _default_initial_points(self) -> int:
        """Three for each hyperparameter, as there; half of few trials."""
        wanted = max(3 * len(self.hyperparameters.space), 3)
        return min(wanted, max(3, (self.max_trials or wanted * 2) // 2))

    def _make_gpr(self) -> "GaussianProcessRegressor":
        gpr = super()._make_gpr()
        # scikit-learn takes no larger ones.
        return gpr.set_params(random_state=self.seed % 2**32)

    def _vectorize_trials(self) -> tuple[np.ndarray, np.ndarray]:
        x, y = super()._vectorize_trials()
        failed = [t for t in self.trials.values() if t.status == "FAILED"]
        if not failed or not len(y):
            return x, y
        # KerasTuner leaves them out, and so proposes the same again.
        more = np.array([self._vector(trial.hyperparameters) for trial in failed])
        done = [t for t in self.trials.values() if t.status == "COMPLETED"]
        # Not infinity: KerasTuner turns that into 0, which may be the best of all.
        worst = max(cost_of(self.objective, trial.score) for trial in done)
        return np.vstack([x, more]), np.append(y, np.full(len(failed), worst))

    def _vector(self, found: keras_tuner.HyperParameters) -> list[float]:
        return [
            hp.value_to_prob(
                found.values[hp.name]
                if hp.name in found.values and found.is_active(hp)
                else hp.default
            )
            for hp in self._nonfixed_space()
        ]


class BayesianOptimization(Tuner, keras_tuner.BayesianOptimization):
    """Proposes by a Gaussian process: `keras_tuner.BayesianOptimization`, repaired.

    It needs scikit-learn. A failed configuration counts as the worst seen so far, so
    the search moves away from it; in KerasTuner an infinite objective attracts. No
    configuration is tried twice, and even a short search has trials that are not
    random. A proposal takes about two seconds; `GaussianProcessOracle` finds more in a
    fortieth of the time. See `Tuner` and `Oracle` for other differences.

    Args:
        hypermodel: Function from `keras_tuner.HyperParameters` to a compiled model, or
            a `keras_tuner.HyperModel`. None if a subclass overrides `run_trial`.
        objective: What is logged, as `"val_accuracy"`, a `keras_tuner.Objective`, or
            None for the number that is returned.
        max_trials: Integer >= 1 or None, how many configurations are tried. Defaults to
            `10`.
        num_initial_points: Integer >= 1, how many random configurations come first.
            None means 3 for each hyperparameter, but no more than half of `max_trials`.
        alpha: Number > 0, the variance of the noise, relative to that of the
            objective. Defaults to `1e-4`.
        beta: Number >= 0, how much an uncertain place is preferred. Defaults to `2.6`.
        seed: Integer, the seed of all draws. None means random.
        **kwargs: Other arguments of `Oracle` and `Tuner`, such as `scheduler`,
            `time_budget`, `directory`, `project_name`, `overwrite`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import tempfile
        >>> import keras_ext as kx
        >>> class Parabola(kx.tuner.BayesianOptimization):
        ...     def run_trial(self, trial, **kwargs):
        ...         return trial.hyperparameters.Float("x", -1.0, 1.0) ** 2
        >>> search = Parabola(max_trials=4, seed=0, directory=tempfile.mkdtemp())
        >>> search.search(verbose=0)
        >>> len(search.oracle.trials)
        4

    References:
        - [Srinivas et al., 2010](https://arxiv.org/abs/0912.3995)
    """

    def __init__(
        self,
        hypermodel: keras_tuner.HyperModel | Builder | None = None,
        objective: str | keras_tuner.Objective | None = None,
        max_trials: int | None = 10,
        *,
        num_initial_points: int | None = None,
        alpha: float = 1e-4,
        beta: float = 2.6,
        seed: int | None = None,
        **kwargs: object,
    ) -> None:
        of_oracle, of_tuner = split(kwargs)
        oracle = BayesianOptimizationOracle(
            require_single(objective),
            max_trials,
            num_initial_points=integer(
                num_initial_points, "num_initial_points", low=1, optional=True
            ),
            alpha=number(alpha, "alpha", above=0),
            beta=number(beta, "beta", low=0),
            seed=seed,
            **of_oracle,
        )
        Tuner.__init__(self, oracle, hypermodel, **of_tuner)
