"""A population of trainings whose hyperparameters move while they train."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import keras_tuner
from keras_tuner.engine.trial import Trial
from keras_tuner.engine.tuner import maybe_distribute
from keras_tuner.src.engine.tuner_utils import TunerCallback

from keras_ext._core._checks import integer, require
from keras_ext._core._typing import Data, Logs, Record
from keras_ext.controllers.discrete._population_based import PopulationBased
from keras_ext.tuner._drop_ins import Builder, split
from keras_ext.tuner._live_settings import LiveSettings, Setter
from keras_ext.tuner._objectives import cost_of, require_single
from keras_ext.tuner._population_state import Member, PopulationState, lineage_in
from keras_ext.tuner._project_files import write_json
from keras_ext.tuner._random_search import RandomSearchOracle
from keras_ext.tuner._roles import is_chief, is_worker
from keras_ext.tuner._trial_backup import load_all
from keras_ext.tuner._tuner import Tuner

# Arguments of tuners that would change nothing here, and what they usually are.
_OF_SINGLE_TRAININGS = {
    "scheduler": None,
    "executions_per_trial": 1,
    "cross_validation": None,
    "max_retries_per_trial": 0,
    "backup": True,
}


class PopulationBasedTraining(Tuner):
    """Trains a population whose worst members continue from the best.

    All members are trained for an interval, one after the other. Then each of the worst
    takes over the weights, the state of the optimizer and the hyperparameters of one of
    the best (exploit), and its hyperparameters are changed (explore): each one is
    multiplied by one of `factors`, or redrawn. So the hyperparameters follow a schedule
    that you need not write, and no training starts over. The result is the trained
    model and the hyperparameters of its best interval, not hyperparameters for training
    another model.

    One model is built and traced once, and trains all members in turn: hyperparameters
    are live values of it, see `keras_ext.make_live`. So they have to be `hp.Float`s
    without conditions; what changes the structure is not searched here. One with a
    `step` stays on its steps, and moves by one at least.

    A trial is a member; its best epoch is saved, as in `Tuner`. A search that was
    killed goes on with the interval that was running. Callbacks are new in each
    interval.

    Args:
        hypermodel: Function from `keras_tuner.HyperParameters` to a compiled model, or
            a `keras_tuner.HyperModel`; it may not be None.
        objective: What is logged, as `"val_accuracy"`, or a `keras_tuner.Objective`; it
            may not be None.
        population: Integer >= 2, the number of members. Defaults to `8`.
        max_epochs: Integer >= 1, how long each member is trained. Defaults to `27`.
        interval_epochs: Integer >= 1, the epochs after which they are compared.
            Defaults to `3`.
        live: Dictionary from the names of hyperparameters to what they are in the
            model: `"learning_rate"`; a regular expression that is searched in the paths
            of `keras_ext.make_live`, such as `"dropout.*/rate"`; or a function of the
            model and the value. None, and what is not named, means that the name is
            `"learning_rate"` or a path.
        truncation: Number in (0, 0.5], the share of members that are replaced. Defaults
            to `0.2`.
        factors: What a hyperparameter may be multiplied with. Defaults to `(0.8, 1.2)`.
        resample_probability: Number in [0, 1], how often one is redrawn, and not
            multiplied. Defaults to `0.25`.
        seed: Integer, the seed of all draws. None means random.
        **kwargs: Other arguments of `Oracle` and `Tuner`, such as `time_budget`,
            `directory`, `project_name`, `overwrite`.

    Attributes:
        lineage: List of dictionaries, one for each member and comparison: `round`,
            `trial_id`, `source`, the trial whose weights it goes on with, `score`, and
            `settings`, those that it goes on with.

    Raises:
        ValueError: If an argument is out of range; when the search begins, if a
            hyperparameter cannot be moved.

    Examples:
        >>> import tempfile
        >>> import keras
        >>> import numpy as np
        >>> import keras_ext as kx
        >>> def build(hp):
        ...     model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        ...     rate = hp.Float("learning_rate", 1e-4, 0.1, sampling="log")
        ...     model.compile(keras.optimizers.SGD(rate), "mse")
        ...     return model
        >>> x = np.random.default_rng(0).normal(size=(64, 4))
        >>> search = kx.tuner.PopulationBasedTraining(
        ...     build,
        ...     "loss",
        ...     population=3,
        ...     max_epochs=4,
        ...     interval_epochs=2,
        ...     seed=0,
        ...     directory=tempfile.mkdtemp(),
        ... )
        >>> search.search(x, x.sum(axis=1, keepdims=True), verbose=0)
        >>> [row["trial_id"] == row["source"] for row in search.lineage].count(False)
        1
        >>> int(search.get_best_models()[0].optimizer.iterations)  # of four epochs
        8

    References:
        - [Jaderberg et al., 2017](https://arxiv.org/abs/1711.09846)
    """

    def __init__(  # noqa: PLR0913 - what the algorithm has, and what a search needs
        self,
        hypermodel: keras_tuner.HyperModel | Builder | None = None,
        objective: str | keras_tuner.Objective | None = None,
        population: int = 8,
        *,
        max_epochs: int = 27,
        interval_epochs: int = 3,
        live: Mapping[str, str | Setter] | None = None,
        truncation: float = 0.2,
        factors: Sequence[float] = (0.8, 1.2),
        resample_probability: float = 0.25,
        seed: int | None = None,
        **kwargs: object,
    ) -> None:
        integer(population, "population", low=2)
        self.max_epochs = integer(max_epochs, "max_epochs", low=1)
        self.interval_epochs = integer(interval_epochs, "interval_epochs", low=1)
        valid = live is None or isinstance(live, Mapping)
        require(valid, "live", live, "a dictionary or None")
        self.live = live
        self._options: dict[str, Any] = {
            "truncation": truncation,
            "factors": factors,
            "resample_probability": resample_probability,
        }
        PopulationBased([{"a": 1.0}, {"a": 1.0}], **self._options)  # checks them
        for name, usual in _OF_SINGLE_TRAININGS.items():
            given = kwargs.get(name, usual)
            rule = f"left out, or {usual}: a population takes no other"
            require(given is None or given == usual, name, given, rule)
        of_oracle, of_tuner = split(kwargs)
        single = require_single(objective)
        require(single is not None, "objective", single, "the name of what is logged")
        oracle = RandomSearchOracle(single, population, seed=seed, **of_oracle)
        Tuner.__init__(self, oracle, hypermodel, **of_tuner)

    @property
    def lineage(self) -> list[Record]:
        """Who went on as whom, with which settings."""
        return lineage_in(self.project_dir)

    def _run_search(self, *args: Any, **kwargs: Any) -> None:
        role = "chief" if is_chief() else "worker"
        alone = not is_chief() and not is_worker()
        require(alone, "KERASTUNER_TUNER_ID", role, "not set: a population is one")
        epochs = kwargs.pop("epochs", self.max_epochs)
        rule = f"left out, or max_epochs={self.max_epochs}"
        require(epochs == self.max_epochs, "epochs", epochs, rule)
        self.oracle.verbose = kwargs.get("verbose", 1)
        self.on_search_begin()
        trials = self._begin()
        if trials:
            self._train(trials, args, kwargs)
        self.on_search_end()

    def _begin(self) -> dict[str, Trial]:
        """The trials that have not ended, by their names."""
        trials: dict[str, Trial] = {}
        while True:
            trial = self.oracle.create_trial(f"{self.tuner_id}-{len(trials)}")
            if trial.status != "RUNNING":
                return trials
            self.on_trial_begin(trial)
            trials[trial.trial_id] = trial

    def _train(
        self, trials: dict[str, Trial], args: Sequence[Data], kwargs: Record
    ) -> None:
        first = next(iter(trials.values()))
        model = self._try_build(first.hyperparameters)
        with maybe_distribute(self.distribution_strategy):
            settings = LiveSettings(model, self.oracle.get_space().space, self.live)
        state = self._state(trials, model, settings)
        begin = min(member.epoch for member in state.members)
        while begin < self.max_epochs and not self._is_late():
            if begin // self.interval_epochs > state.num_rounds:
                state.compete(settings.on_steps)
                state.save()
            for i, member in enumerate(state.members):
                if member.epoch == begin:
                    trial = trials[member.trial_id]
                    interval = _Interval(self, trial, member, state, i)
                    interval.run(model, settings, args, kwargs)
            begin = min(member.epoch for member in state.members)
        # First those that have a score: failures alone would end the search.
        for member in sorted(state.members, key=lambda member: member.best is None):
            if member.trial_id in trials:
                trial = trials[member.trial_id]
                trial.hyperparameters.values.update(member.best_settings or {})
                trial.status = "COMPLETED"
                self.on_trial_end(trial)

    def _is_late(self) -> bool:
        budget = self.oracle.time_budget
        return budget is not None and self.oracle.seconds() >= budget

    def _state(
        self, trials: dict[str, Trial], model: keras.Model, settings: LiveSettings
    ) -> PopulationState:
        """The population as it was left, or at its beginning."""
        names = [hp.name for hp in settings.space]
        values = [t.hyperparameters.values for t in trials.values()]
        first = [{name: v[name] for name in names} for v in values]
        require(
            len(first) > 1 or PopulationState.exists(self.project_dir),
            "time_budget",
            self.oracle.time_budget,
            "enough for two members",
        )
        population = PopulationBased(
            first if len(first) > 1 else first * 2,
            resample=settings.draws,
            bounds=settings.bounds,
            mode=self.oracle.objective.direction,
            seed=self.oracle.seed,
            **self._options,
        )
        state = PopulationState(self.project_dir, population)
        if PopulationState.exists(self.project_dir):
            state.load()
            return state
        for i, trial in enumerate(trials.values()):
            path = state.file_of(trial.trial_id, 0)
            # Each member begins with weights of its own.
            fresh = self._try_build(trial.hyperparameters) if i else model
            self._build_and_save(fresh, path, trial)
            state.members.append(Member(trial.trial_id, path))
        state.save()
        return state

    def _build_and_save(self, model: keras.Model, path: str, trial: Trial) -> None:
        rule = "one that builds a model whose input shape is known"
        require(model.built, "hypermodel", type(model).__name__, rule)
        # The variables of an optimizer are made where those of the model are.
        with maybe_distribute(self.distribution_strategy):
            model.optimizer.build(model.trainable_variables)
        model.save_weights(path)
        build = model.get_build_config()
        write_json(self._get_build_config_fname(trial.trial_id), build)


class _Interval(keras.callbacks.Callback):
    """Trains a member for an interval, and keeps its best epoch."""

    def __init__(
        self,
        tuner: PopulationBasedTraining,
        trial: Trial,
        member: Member,
        state: PopulationState,
        number: int,
    ) -> None:
        super().__init__()
        self._tuner, self._trial = tuner, trial
        self._member, self._state = member, state
        self._settings = state.population.settings[number]
        self._checkpoint = tuner._get_checkpoint_fname(trial.trial_id)
        self._is_reported = False
        self._last_epoch = -1

    def run(
        self,
        model: keras.Model,
        settings: LiveSettings,
        args: Sequence[Data],
        kwargs: Record,
    ) -> None:
        tuner, member = self._tuner, self._member
        begin = member.epoch
        end = min(begin + tuner.interval_epochs, tuner.max_epochs)
        tuner.oracle.rewind(self._trial.trial_id, begin)
        build = tuner._get_build_config_fname(self._trial.trial_id)
        with maybe_distribute(tuner.distribution_strategy):
            load_all(model, member.weights, build)
        settings.assign(self._settings)
        given = tuner._deepcopy_callbacks(kwargs.get("callbacks") or [])
        tuner._configure_tensorboard_dir(given, self._trial)
        callbacks = [*given, TunerCallback(tuner, self._trial), self]
        span = {"initial_epoch": begin, "epochs": end, "callbacks": callbacks}
        hp = self._trial.hyperparameters
        member.score = None
        tuner.hypermodel.fit(hp, model, *args, **{**kwargs, **span})
        self._require_objective(end)
        member.epoch = end
        member.weights = self._state.file_of(member.trial_id, end)
        _save_to(member.weights, model)
        self._state.save()

    def _require_objective(self, end: int) -> None:
        """Raises if there is nothing to compare the members by."""
        # What was stopped before, as by a loss that is NaN, is the worst.
        was_stopped = self._last_epoch + 1 < end
        is_compared = end < self._tuner.max_epochs or self._member.best is None
        name = self._tuner.oracle.objective.name
        require(
            self._is_reported or was_stopped or not is_compared,
            "objective",
            name,
            f"logged in each interval of {self._tuner.interval_epochs} epochs",
            "Data for validation have the word `val_`; a `validation_freq` above "
            "`interval_epochs` leaves intervals out.",
        )

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._last_epoch = epoch
        objective = self._tuner.oracle.objective
        # With `validation_freq`, some epochs lack it; the last that has it counts.
        if not objective.has_value(logs or {}):
            return
        self._is_reported = True
        value = float(objective.get_value(dict(logs or {})))
        self._member.score = value if math.isfinite(value) else None
        cost = cost_of(objective, value)
        best = self._member.best
        if math.isfinite(cost) and (best is None or cost < best):
            self._member.best = cost
            self._member.best_settings = dict(self._settings)
            _save_to(self._checkpoint, self.model)


def _save_to(path: str, model: keras.Model) -> None:
    """Saves weights and optimizer such that the file is whole at every moment."""
    beside = os.path.join(os.path.dirname(path), f"{os.getpid()}.tmp.weights.h5")
    model.save_weights(beside)
    os.replace(beside, path)
