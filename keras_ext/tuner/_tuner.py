"""The tuner of KerasTuner, repaired: how a trial is run."""

import inspect
import math
import os
from collections.abc import Callable
from typing import Any

import keras
import keras_tuner
from keras_tuner.engine.trial import Trial
from keras_tuner.src.engine.tuner_utils import TunerCallback

from keras_ext._core._checks import flag, integer, number, require, takes
from keras_ext._core._typing import Data, Logs
from keras_ext.tuner._building_tuner import BuildingTuner
from keras_ext.tuner._cost import measuring
from keras_ext.tuner._cross_validation import Folds, checked_folds
from keras_ext.tuner._disk_quota import keep_within
from keras_ext.tuner._drop_ins import Builder
from keras_ext.tuner._objectives import parts_of
from keras_ext.tuner._oracle import Oracle
from keras_ext.tuner._project_files import write_json
from keras_ext.tuner._remote_oracle import RemoteOracle
from keras_ext.tuner._results import Result, metrics_of
from keras_ext.tuner._roles import chief_address, is_chief, is_worker
from keras_ext.tuner._tolerant_oracle import out_of_memory
from keras_ext.tuner._trial_backup import TrialBackup, load_all, remove_backup


class Tuner(BuildingTuner):
    """Runs trials: builds models, trains them, reports each epoch, and goes on.

    A `keras_tuner.Tuner`: `search`, `get_best_models` and `results_summary` are as
    there. What this class changes:

    - It needs no TensorBoard unless a callback of that name is given. KerasTuner
      imports it for every trial.
    - Each epoch is reported to the oracle, which may stop the training. A training
      whose loss is NaN is stopped, too.
    - After each epoch the trial is saved, optimizer and callbacks included. A search
      that was killed goes on with the next epoch, also in the first trial; it has to be
      made as before, and `HyperModel.fit` has to take `initial_epoch`, as
      `fit(self, hp, model, *args, **kwargs)` does. One that trains several times begins
      its trial again.
    - Of a model that is loaded, the optimizer has its state, too.
    - Garbage is collected once per trial, and no model is built before the search if
      the oracle has all hyperparameters and `allow_new_entries=False`.

    Args:
        oracle: What decides, an `Oracle` of keras_ext.
        hypermodel: Function from `keras_tuner.HyperParameters` to a compiled model, or
            a `keras_tuner.HyperModel`. None if a subclass overrides `run_trial`.
        directory: The folder of projects. None means the present one.
        project_name: The folder of this search in it. None means
            `"untitled_project"`.
        overwrite: Whether to start over if there is a search in it, and not resume it.
            Defaults to `False`.
        executions_per_trial: Integer >= 1, how often each configuration is trained.
            The score is the mean. Defaults to `1`.
        cross_validation: Integer >= 2, into how many folds the data of `search` is
            split, each of which is held out once; a pair such as `(5, 2)` repeats this
            with other folds. Classes are spread evenly. The score is the mean over the
            folds, and a trial that does worse on its first folds than the best trial
            did on the same ones is not trained on the others, if that is no chance (a
            paired t-test at 5 %). Data is arrays then, without any for validation.
            None means as `search` says.
        disk_quota: Number > 0, how many bytes the weights of ended trials may take.
            Those of the worst are removed first, and those of the best never. None
            means no limit.
        backup: Whether trials are saved after each epoch. If not, weights are saved
            only at epochs that are the best, and an interrupted trial starts over.
            Defaults to `True`.
        progress: Whether to show how far the search is, in place of what KerasTuner
            prints: lines that change in a terminal (by rich, where it is installed) or
            a notebook, else a line for each trial. `fit` is then told `verbose=0`.
            Defaults to `False`.
        **kwargs: Other arguments of `keras_tuner.Tuner`: `max_model_size`,
            `optimizer`, `loss`, `metrics`, `distribution_strategy`, `tuner_id`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import tempfile
        >>> import keras
        >>> import numpy as np
        >>> import keras_ext as kx
        >>> x = np.random.default_rng(0).normal(size=(64, 4))
        >>> def build(hp):
        ...     model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        ...     rate = hp.Float("learning_rate", 1e-4, 0.1, sampling="log")
        ...     model.compile(keras.optimizers.SGD(rate), "mse")
        ...     return model
        >>> oracle = kx.tuner.OptunaOracle("val_loss", 2, seed=0)
        >>> tuner = kx.tuner.Tuner(oracle, build, directory=tempfile.mkdtemp())
        >>> tuner.search(x, x[:, :1], validation_split=0.5, epochs=2, verbose=0)
        >>> [len(t.metrics.get_history("val_loss")) for t in oracle.trials.values()]
        [2, 2]
        >>> int(tuner.get_best_models()[0].optimizer.iterations)  # of its second epoch
        2
    """

    # Whether later trials start from the last epoch of earlier ones.
    keeps_last_epoch = False

    def __init__(  # noqa: PLR0913 - those of KerasTuner, and how trials run
        self,
        oracle: Oracle,
        hypermodel: keras_tuner.HyperModel | Builder | None = None,
        *,
        directory: str | os.PathLike[str] | None = None,
        project_name: str | None = None,
        overwrite: bool = False,
        executions_per_trial: int = 1,
        cross_validation: int | tuple[int, int] | None = None,
        disk_quota: float | None = None,
        backup: bool = True,
        progress: bool = False,
        **kwargs: object,
    ) -> None:
        valid = isinstance(oracle, Oracle)
        require(valid, "oracle", oracle, "an oracle of kx.tuner")
        self._require_hypermodel(hypermodel)
        self.backup = flag(backup, "backup")
        self.progress = flag(progress, "progress")
        self.cross_validation = checked_folds(cross_validation, executions_per_trial)
        self.disk_quota = number(disk_quota, "disk_quota", above=0, optional=True)
        # Later trials begin with the weights of others, whatever these have reached.
        none = disk_quota is None or not self.keeps_last_epoch
        require(none, "disk_quota", disk_quota, "None for Hyperband")
        self._stopped: str | None = None
        for name, value, kinds in (
            ("directory", directory, str | os.PathLike),
            ("project_name", project_name, str),
        ):
            fine = value is None or (isinstance(value, kinds) and str(value) != "")
            require(fine, name, value, "the name of a folder or None")
        # Not `super()`: the class of KerasTuner with the name of a subclass of this one
        # comes first, and would make an oracle of its own.
        keras_tuner.Tuner.__init__(
            self,
            oracle,
            hypermodel,
            directory=directory,
            project_name=project_name,
            # A worker that comes late would remove what others have found.
            overwrite=flag(overwrite, "overwrite") and not is_worker(),
            executions_per_trial=integer(
                executions_per_trial, "executions_per_trial", low=1
            ),
            **kwargs,
        )
        if is_worker():
            self._ask_the_chief(oracle)

    def _ask_the_chief(self, oracle: Oracle) -> None:
        """Puts the chief in the place of the oracle, and of KerasTuner's client."""
        remote = RemoteOracle(
            oracle,
            address=chief_address(),
            worker=self.tuner_id,
            search=str(self.project_name),
        )
        remote.multi_worker = self.oracle.multi_worker
        remote.should_report = self.oracle.should_report
        self.oracle = remote

    def reload(self) -> None:
        if not is_worker():
            super().reload()

    def _require_hypermodel(self, given: object) -> None:
        own = type(self).run_trial is not Tuner.run_trial
        valid = isinstance(given, keras_tuner.HyperModel) or takes(given, 1)
        valid = valid or (given is None and own)
        expected = "a function of hp that returns a model, or a keras_tuner.HyperModel"
        require(valid, "hypermodel", given, expected)

    def _run_search(self, *args: Data, **kwargs: Any) -> None:
        if not is_chief():
            # Said now: a trial would only have failed.
            Folds.of(self.cross_validation, args, kwargs, seed=0)
        super()._run_search(*args, **kwargs)

    def on_search_begin(self) -> None:
        # Without this file the project of a first trial that is killed is not found.
        self.save()

    def save(self) -> None:
        self.oracle.save()
        write_json(self._get_tuner_fname(), self.get_state())

    def on_trial_end(self, trial: Trial) -> None:
        try:
            super().on_trial_end(trial)
        finally:
            # Of a trial that was given to another worker, that one goes on.
            was_lost = trial.trial_id in getattr(self.oracle, "lost", ())
            if not was_lost and not (
                self.keeps_last_epoch and trial.status == "COMPLETED"
            ):
                remove_backup(self.get_trial_dir(trial.trial_id))
        if self.disk_quota is not None:
            trials = self.oracle.get_best_trials(2**31)
            done = [t.trial_id for t in trials if t.status in ("COMPLETED", "FAILED")]
            keep_within(self.disk_quota, list(map(self._get_checkpoint_fname, done)))

    def run_trial(
        self, trial: Trial, *args: Data, **kwargs: Any
    ) -> Result | list[Result] | None:
        values = trial.hyperparameters.values
        if "tuner/epochs" in values:
            kwargs["epochs"] = values["tuner/epochs"]
        backup = TrialBackup(
            trial_dir=self.get_trial_dir(trial.trial_id),
            checkpoint=self._get_checkpoint_fname(trial.trial_id),
            objective=self.oracle.objective,
            every_epoch=self.backup,
        )
        callbacks = kwargs.pop("callbacks", None) or []
        folds = Folds.of(self.cross_validation, args, kwargs, self.oracle.seed)
        count = folds.total if folds else self.executions_per_trial
        for execution in range(len(backup.results), count):
            if folds:
                args, kwargs = folds.arguments(execution)
            copied = self._deepcopy_callbacks(callbacks)
            self._configure_tensorboard_dir(copied, trial, execution)
            copied += [TunerCallback(self, trial), backup]
            backup.begin_execution(copied[:-2])
            result = self._build_and_fit_model(
                trial, *args, **{**kwargs, "callbacks": copied}
            )
            backup.end_execution(result)
            if self._stopped == trial.trial_id or (
                folds and self._is_behind(trial, result, execution, count)
            ):
                break
        return backup.results

    def _is_behind(self, trial: Trial, result: Result, fold: int, count: int) -> bool:
        """Whether the folds until now say that the trial is not the best."""
        objective = self.oracle.objective
        value = metrics_of(result, objective)[0][objective.name]
        return bool(self.oracle.judge_fold(trial.trial_id, value, fold, count))

    def _build_and_fit_model(self, trial: Trial, *args: Data, **kwargs: Any) -> Result:
        model = self._try_build(trial.hyperparameters)
        backup = kwargs["callbacks"][-1]
        # The variables of an optimizer are made where those of the model are.
        with keras_tuner.engine.tuner.maybe_distribute(self.distribution_strategy):
            start = self._restore(trial, model, backup)
        # What other executions have reported stays.
        if not backup.results:
            self.oracle.rewind(trial.trial_id, start)
        if start:
            kwargs["initial_epoch"] = start
        # First of all: the others see in the logs what is added.
        kwargs["callbacks"][:0] = measuring(parts_of(self.oracle.objective))
        return self.hypermodel.fit(trial.hyperparameters, model, *args, **kwargs)

    def _restore(self, trial: Trial, model: keras.Model, backup: TrialBackup) -> int:
        """Loads what there is to go on from, and says which epoch is the first."""
        values = trial.hyperparameters.values
        parent = values.get("tuner/trial_id")
        if not takes_keyword(self.hypermodel.fit, "initial_epoch"):
            backup.remove()
            return 0
        start = backup.restore(model)
        if start or not parent:
            return start
        if not backup.restore_from(self.get_trial_dir(parent), model):
            best = self._get_checkpoint_fname(parent)
            load_all(model, best, self._get_build_config_fname(parent))
        return int(values["tuner/initial_epoch"])

    def on_epoch_end(
        self, trial: Trial, model: keras.Model, epoch: int, logs: Logs = None
    ) -> None:
        """Reports an epoch, and stops the training if the oracle says so."""
        values = {name: float(value) for name, value in (logs or {}).items()}
        objective = self.oracle.objective
        if math.isnan(values.get("loss", 0.0)):
            model.stop_training = True
        if len(parts_of(objective)) == 1 and objective.has_value(values):
            answer = self.oracle.update_trial(trial.trial_id, values, step=epoch)
            if answer.status == "STOPPED":
                model.stop_training = True
                self._stopped = trial.trial_id

    def _try_run_and_update_trial(
        self, trial: Trial, *args: Data, **kwargs: object
    ) -> None:
        super()._try_run_and_update_trial(trial, *args, **kwargs)
        cause = out_of_memory(trial.message or "")
        if trial.status == "INVALID" and cause:
            trial.status = "FAILED"  # once more would need as much
            trial.message = f"{cause}\n{trial.message}"

    def _run_and_update_trial(
        self, trial: Trial, *args: Data, **kwargs: object
    ) -> None:
        results = self.run_trial(trial, *args, **kwargs)
        objective = self.oracle.objective
        reported = self.oracle.get_trial(trial.trial_id).metrics
        if results is None and reported.exists(objective.name):
            return  # `run_trial` of a subclass has called `oracle.update_trial` itself
        metrics, step = metrics_of(results, objective)
        self.oracle.conclude(trial.trial_id, metrics, step)


def takes_keyword(function: Callable[..., object], name: str) -> bool:
    """Whether a function can be given an argument by this name."""
    parameters = inspect.signature(function).parameters.values()
    return any(p.name == name or p.kind is p.VAR_KEYWORD for p in parameters)
