"""What an interrupted trial goes on from, and the weights of its best epoch."""

import contextlib
import math
import os
import shutil
from collections.abc import Sequence

import keras
from keras_tuner import Objective

from keras_ext._core._typing import Logs, Record
from keras_ext._fit._packed import packed, unpacked
from keras_ext.tuner._callback_memory import memory_of_callbacks, recall_callbacks
from keras_ext.tuner._objectives import cost_of
from keras_ext.tuner._project_files import read_json, write_json
from keras_ext.tuner._results import Result, best_of_history

_STATE, _BUILD = "state.json", "build_config.json"
# Of the best epoch of an execution.
_EPOCH, _METRICS = "epoch", "metrics"


class TrialBackup(keras.callbacks.Callback):
    """Saves a trial after each epoch, all at one moment, and its best epoch.

    Weights and optimizer go into a file of their own, and so does what the callbacks
    know; the one moment is when `state.json` is replaced by one that names them. What
    is saved once serves as the best checkpoint, too.

    Args:
        trial_dir: The folder of the trial.
        checkpoint: The file of the best epoch, of all executions.
        objective: What is best.
        every_epoch: Whether there is something to go on from after each epoch. If not,
            the weights are saved when an epoch is the best.
    """

    def __init__(
        self,
        *,
        trial_dir: str,
        checkpoint: str,
        objective: Objective,
        every_epoch: bool,
    ) -> None:
        super().__init__()
        self._folder = os.path.join(trial_dir, "backup")
        self._build_file = os.path.join(trial_dir, _BUILD)
        self._checkpoint = checkpoint
        self._objective = objective
        self._every_epoch = every_epoch
        self._fits = 0
        self._callbacks: Sequence[keras.callbacks.Callback] = ()
        self._memory: list[Record] | None = None
        saved = read_json(os.path.join(self._folder, _STATE)) or {}
        weights = saved.get("weights")
        if not (weights and os.path.exists(os.path.join(self._folder, weights))):
            saved = {}
        self._weights: str | None = saved.get("weights")
        self._best = saved.get("best")
        self.epoch = saved.get("epoch", 0)
        self.logs: list[dict[str, float]] = saved.get("logs", [])
        self.results: list[Result] = [_read(r) for r in saved.get("results", [])]

    def restore(self, model: keras.Model) -> int:
        """Gives a model the state of the last epoch, and says which is the next."""
        if self._weights:
            self.restore_from(os.path.dirname(self._folder), model)
        return self.epoch

    def restore_from(self, trial_dir: str, model: keras.Model) -> bool:
        """Takes the state of the last epoch of any trial, and says whether it has one.

        Callbacks are given what they knew when `fit` has told all that it begins.
        """
        path = last_weights(trial_dir)
        if path is None:
            return False
        load_all(model, path, os.path.join(trial_dir, _BUILD))
        with contextlib.suppress(FileNotFoundError), open(_beside(path), "rb") as file:
            self._memory = unpacked(file.read())
        return True

    def begin_execution(
        self, callbacks: Sequence[keras.callbacks.Callback] = ()
    ) -> None:
        """Takes the callbacks of an execution."""
        self._fits, self._memory, self._callbacks = 0, None, callbacks

    def end_execution(self, result: Result) -> None:
        """Takes the result of an execution, of which the history is made whole."""
        if isinstance(result, keras.callbacks.History) and self._fits <= 1:
            names = {name: None for logs in self.logs for name in logs}
            result.history = {n: [log.get(n) for log in self.logs] for n in names}
            seen = getattr(result, "epoch", [])
            end = seen[-1] + 1 if seen else self.epoch
            result.epoch = list(range(end - len(self.logs), end))
        self.results.append(result)
        self.epoch, self.logs, self._weights = 0, [], None

    def on_train_begin(self, logs: Logs = None) -> None:
        self._fits += 1
        if self._memory is not None:
            # This one is the last: by now the others have begun, and forgotten all.
            recall_callbacks(self._callbacks, self._memory)
            self._memory = None
        if self._fits > 1:  # epochs are counted anew: there is nothing to go on from
            self.remove()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        values = {name: float(value) for name, value in (logs or {}).items()}
        self.logs.append(values)
        if not os.path.exists(self._build_file):
            write_json(self._build_file, self.model.get_build_config())
        goes_on = self._every_epoch and self._fits == 1 and self._only_numbers()
        is_best = self._is_best(values)
        # The last epoch is written anyway: the best one is a link to the same file.
        if goes_on:
            self._save_state(epoch, is_best)
        elif is_best:
            self._save_to(self._checkpoint)

    def _only_numbers(self) -> bool:
        """Whether what executions before this one gave can be written down."""
        return all(_is_written(result) for result in self.results)

    def _is_best(self, values: dict[str, float]) -> bool:
        if not self._objective.has_value(values):
            # As in KerasTuner, if the objective is known after `fit` alone; with
            # `validation_freq`, only the epochs that have it can be the best.
            return self._best is None
        cost = cost_of(self._objective, self._objective.get_value(values))
        is_best = self._best is None or cost < self._best
        # A first NaN is saved, but nothing has to be less than it.
        self._best = cost if is_best and math.isfinite(cost) else self._best
        return is_best

    def _save_state(self, epoch: int, is_best: bool) -> None:
        os.makedirs(self._folder, exist_ok=True)
        last, name = self._weights, f"{len(self.results)}_{epoch + 1}.weights.h5"
        path = os.path.join(self._folder, name)
        if not self._save_to(path):
            return  # a model whose `save_weights` writes nothing starts over
        with open(_beside(path), "wb") as file:
            file.write(packed(memory_of_callbacks(self._callbacks)))
        if is_best:
            _link(path, self._checkpoint)
        self.epoch, self._weights = epoch + 1, name
        state = {
            "weights": name,
            "best": self._best,
            "epoch": self.epoch,
            "logs": self.logs,
            "results": [_written(result, self._objective) for result in self.results],
        }
        # Last, when the files that it names are whole; only then may the old ones go.
        write_json(os.path.join(self._folder, _STATE), state)
        if last and last != name:
            old = os.path.join(self._folder, last)
            for file_of_old in (old, _beside(old)):
                with contextlib.suppress(FileNotFoundError):
                    os.remove(file_of_old)

    def _save_to(self, path: str) -> bool:
        beside = os.path.join(os.path.dirname(path), f"{os.getpid()}.tmp.weights.h5")
        self.model.save_weights(beside)
        with contextlib.suppress(FileNotFoundError):
            os.replace(beside, path)
            return True
        return False

    def remove(self) -> None:
        """Forgets the trial: it has ended, or begins anew."""
        remove_backup(os.path.dirname(self._folder))
        self.epoch, self._weights = 0, None


def remove_backup(trial_dir: str) -> None:
    """Removes what a trial could go on from."""
    shutil.rmtree(os.path.join(trial_dir, "backup"), ignore_errors=True)


def last_weights(trial_dir: str) -> str | None:
    """The file with the last epoch of a trial, if there is one."""
    folder = os.path.join(trial_dir, "backup")
    name = (read_json(os.path.join(folder, _STATE)) or {}).get("weights")
    return os.path.join(folder, name) if name else None


def _beside(weights: str) -> str:
    """The file with what the callbacks knew when the weights were saved."""
    return weights.removesuffix(".weights.h5") + ".callbacks.npz"


def load_all(model: keras.Model, path: str, build_file: str) -> None:
    """Loads weights and optimizer.

    Keras leaves out the state of an optimizer that is not built, with a warning.
    """
    if not model.built:
        model.build_from_config(read_json(build_file))
    if getattr(model, "optimizer", None) is not None:
        model.optimizer.build(model.trainable_variables)
    model.load_weights(path)


def _is_written(result: object) -> bool:
    return isinstance(result, dict | int | float | keras.callbacks.History)


def _written(result: Result, objective: Objective) -> Record | float:
    """The result of an execution as numbers: of a history, its best epoch."""
    if isinstance(result, keras.callbacks.History):
        metrics, epoch = best_of_history(result, objective)
        return {_EPOCH: epoch, _METRICS: metrics}
    if isinstance(result, dict):
        return {name: float(value) for name, value in result.items()}
    return float(result)


def _read(written: Record | float) -> Result:
    """What was written: of a history one with its best epoch alone."""
    if not (isinstance(written, dict) and isinstance(written.get(_METRICS), dict)):
        return written
    history = keras.callbacks.History()
    history.history = {name: [v] for name, v in written[_METRICS].items()}
    history.epoch = [written[_EPOCH]]
    return history


def _link(source: str, target: str) -> None:
    """Makes the target the same file, without a moment at which it is not whole."""
    beside = f"{target}.{os.getpid()}.tmp"
    with contextlib.suppress(FileNotFoundError):
        os.remove(beside)
    try:
        os.link(source, beside)
    except OSError:  # a file system without links
        shutil.copyfile(source, beside)
    os.replace(beside, target)
