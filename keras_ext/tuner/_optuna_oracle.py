"""Proposals by the samplers of Optuna."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras_tuner
import numpy as np
import optuna
from keras_tuner import Objective
from keras_tuner.engine import hyperparameters as kinds
from keras_tuner.engine.trial import Trial

from keras_ext._core._checks import choice, require
from keras_ext._core._extras import import_extra
from keras_ext._core._typing import Record
from keras_ext.tuner._objectives import cost_of, parts_of
from keras_ext.tuner._optuna_space import Translation, params_of, translated
from keras_ext.tuner._oracle import Oracle
from keras_ext.tuner._stored_oracle import Value

_SAMPLERS = ("tpe", "cmaes", "nsga2", "nsga3", "qmc", "random")
_OF_GENERATIONS = ("nsga2", "nsga3")


class OptunaOracle(Oracle):
    """Proposes configurations by a sampler of Optuna, in milliseconds.

    The default, multivariate grouped TPE, learns which values go together, also where
    some hyperparameters exist only under conditions. On a function of six dimensions it
    needed milliseconds per proposal at 300 trials, where `BayesianOptimization` takes
    two seconds.

    The files of the trials are the only store: when a search goes on, the sampler is
    told what they say. A configuration that failed counts as the worst that was seen.
    None is tried twice. With several objectives, all samplers but `"cmaes"` look for
    the Pareto front, see `pareto_trials`.

    Args:
        objective: What is logged, as `"val_accuracy"`, a `keras_tuner.Objective`, a
            list of these, or None for the number that is returned.
        max_trials: Integer >= 1 or None, how many configurations are tried. Defaults to
            `10`.
        hyperparameters: A `keras_tuner.HyperParameters` with what is declared before
            the first trial. None means nothing.
        sampler: `"tpe"`, `"cmaes"` (continuous spaces without conditions; needs the
            package cmaes), `"nsga2"`, `"nsga3"` (evolution), `"qmc"` (a scrambled Sobol
            sequence), `"random"`, or a sampler of Optuna. Defaults to `"tpe"`.
        seed: Integer, the seed of all draws. None means random.
        **kwargs: Other arguments of `Oracle`, such as `scheduler` and `time_budget`.

    Raises:
        ImportError: If optuna is not installed, or for `"cmaes"`, cmaes.
        ValueError: If an argument is out of range.

    Examples:
        >>> import tempfile
        >>> import keras_ext as kx
        >>> class Valley(kx.tuner.Tuner):
        ...     def run_trial(self, trial, **kwargs):
        ...         hp = trial.hyperparameters
        ...         x, y = (hp.Float(name, -2.0, 2.0) for name in "xy")
        ...         return (x - y) ** 2 + 0.1 * x**2
        >>> oracle = kx.tuner.OptunaOracle(max_trials=40, seed=0)
        >>> search = Valley(oracle, directory=tempfile.mkdtemp())
        >>> search.search(verbose=0)
        >>> oracle.get_best_trials()[0].score < 0.1
        True

    References:
        - [Akiba et al., 2019](https://arxiv.org/abs/1907.10902)
        - [Watanabe, 2023, on TPE](https://arxiv.org/abs/2304.11127)
    """

    def __init__(
        self,
        objective: str | Objective | Sequence[str | Objective] | None = None,
        max_trials: int | None = 10,
        *,
        hyperparameters: keras_tuner.HyperParameters | None = None,
        sampler: str | optuna.samplers.BaseSampler = "tpe",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            objective,
            max_trials,
            hyperparameters=hyperparameters,
            seed=seed,
            **kwargs,
        )
        if not isinstance(sampler, optuna.samplers.BaseSampler):
            choice(sampler, "sampler", _SAMPLERS)
            require(
                sampler != "cmaes" or len(parts_of(self.objective)) == 1,
                "sampler",
                sampler,
                "one of the others with several objectives",
            )
        self.sampler = sampler
        self._attributes: dict[str, Record] = {}
        self._begin_study()

    def _begin_study(self) -> None:
        """A study that knows nothing; its draws are not those of an interrupted one."""
        self._asked: dict[str, optuna.Trial] = {}
        sequence = np.random.SeedSequence([self.seed, len(self.start_order)])
        seed = int(sequence.generate_state(1)[0])
        given = self.sampler
        directions: Any = [f"{o.direction}imize" for o in parts_of(self.objective)]
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(
            directions=directions,
            sampler=made(given, seed) if isinstance(given, str) else given,
        )
        optuna.logging.set_verbosity(verbosity)

    def populate_space(self, trial_id: str) -> Record:
        queued = self._next_queued()
        if queued is not None:
            return self._asked_for(trial_id, queued)
        for _ in range(5):
            asked = self._study.ask()
            values = self._suggested(asked)
            if not self._duplicate(values):
                return self._running(trial_id, asked, values)
            self._study.tell(asked, state=optuna.trial.TrialState.FAIL)
        # The sampler is sure; what else is there may be tried all the same.
        other = self._random_values()
        if other is None:
            return {"status": "STOPPED", "values": None}
        return self._asked_for(trial_id, other)

    def _asked_for(self, trial_id: str, values: dict[str, Value]) -> Record:
        """The answer with given values, of which the study knows."""
        # The next `ask` takes it; what it has no value for, the sampler draws.
        self._study.enqueue_trial(params_of(self.hyperparameters.space, values)[0])
        asked = self._study.ask()
        return self._running(trial_id, asked, self._suggested(asked))

    def _running(
        self, trial_id: str, asked: optuna.Trial, values: Mapping[str, Value]
    ) -> Record:
        self._asked[trial_id] = asked
        if self.sampler in _OF_GENERATIONS:
            frozen = self._study.trials[asked.number]
            # Optuna notes there to which generation a trial belongs.
            self._attributes[trial_id] = dict(frozen.system_attrs)
        return {"status": "RUNNING", "values": values}

    def _suggested(self, asked: optuna.Trial) -> dict[str, Value]:
        """The values of all hyperparameters that are active, one after the other."""
        found = keras_tuner.HyperParameters()
        for part in translated(self.hyperparameters.space):
            hp = getattr(part, "hp", part)
            found.merge([hp])
            if found.is_active(hp):
                found.values[hp.name] = _suggest(asked, part)
        return found.values

    def _ended(self, trial: Trial) -> None:
        super()._ended(trial)
        # A failure is told as a bad result: Optuna's samplers ignore trials that
        # failed.
        values = self._values(trial)
        asked = self._asked.pop(trial.trial_id, None)
        if asked is not None and not (values and self._lacks_some(asked, trial)):
            failed = optuna.trial.TrialState.FAIL if values is None else None
            self._study.tell(asked, values, state=failed)
            return
        if asked is not None:
            self._study.tell(asked, state=optuna.trial.TrialState.FAIL)
        self._add(trial, values)

    def _lacks_some(self, asked: optuna.Trial, trial: Trial) -> bool:
        """Whether a trial found hyperparameters that it had not been asked for.

        Some samplers search only what all trials have: one without would leave nothing.
        """
        values = trial.hyperparameters.values
        params, _ = params_of(self.hyperparameters.space, values)
        return not params.keys() <= asked.params.keys()

    def _values(self, trial: Trial) -> list[float] | None:
        """The objectives; of a trial that failed the worst that were seen, if any."""
        parts = parts_of(self.objective)
        if trial.status == "COMPLETED":
            costs = self._costs(trial)
        else:
            done = [t for t in self.trials.values() if t.status == "COMPLETED"]
            if not done:
                return None
            costs = [
                max(column) for column in zip(*map(self._costs, done), strict=True)
            ]
        return [cost_of(o, cost) for o, cost in zip(parts, costs, strict=True)]

    def _add(self, trial: Trial, values: list[float] | None) -> None:
        """Tells the study of a trial of an earlier process."""
        if values is None:
            return
        params, distributions = params_of(
            self.hyperparameters.space, trial.hyperparameters.values
        )
        self._study.add_trial(
            optuna.trial.create_trial(
                params=params,
                distributions=distributions,
                values=values,
                system_attrs=self._attributes.get(trial.trial_id, {}),
            )
        )

    def _replay(self) -> None:
        self._begin_study()
        super()._replay()

    def get_state(self) -> Record:
        return {**super().get_state(), "sampler_attributes": self._attributes}

    def set_state(self, state: Record) -> None:
        super().set_state(state)
        self._attributes = state.get("sampler_attributes", {})


def made(word: str, seed: int) -> optuna.samplers.BaseSampler:
    """The sampler of a name."""
    samplers = optuna.samplers
    if word == "cmaes":
        import_extra("cmaes", "tuner")
    kinds: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
        "cmaes": lambda: samplers.CmaEsSampler(
            seed=seed, warn_independent_sampling=False
        ),
        "nsga2": lambda: samplers.NSGAIISampler(seed=seed),
        "nsga3": lambda: samplers.NSGAIIISampler(seed=seed),
        "qmc": lambda: samplers.QMCSampler(
            scramble=True,
            seed=seed,
            warn_asynchronous_seeding=False,
            warn_independent_sampling=False,
        ),
        "random": lambda: samplers.RandomSampler(seed=seed),
        # `multivariate` alone draws what is under conditions independently; `group`
        # does not. `constant_liar` keeps trials that run at once apart.
        "tpe": lambda: samplers.TPESampler(
            multivariate=True, group=True, constant_liar=True, seed=seed
        ),
    }
    with warnings.catch_warnings():
        # That arguments may change, which is our matter.
        category = optuna.exceptions.ExperimentalWarning
        warnings.simplefilter("ignore", category)
        return kinds[word]()


def _suggest(asked: optuna.Trial, part: Translation | kinds.Fixed) -> Value | None:
    if not isinstance(part, Translation):
        return part.value
    kind = part.distribution
    if isinstance(kind, optuna.distributions.CategoricalDistribution):
        return asked.suggest_categorical(part.name, kind.choices)
    suggest: Callable[..., float] = asked.suggest_float
    if isinstance(kind, optuna.distributions.IntDistribution):
        suggest = asked.suggest_int
    value = suggest(part.name, kind.low, kind.high, log=kind.log)
    return part.from_optuna(value)
