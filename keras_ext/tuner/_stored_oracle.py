"""The oracle of KerasTuner with files that survive whatever ends a search."""

import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import TypeAlias

import keras_tuner
from keras_tuner.engine import hyperparameters as kinds
from keras_tuner.engine.trial import Trial
from keras_tuner.src.engine.oracle import Display

from keras_ext._core._typing import Record
from keras_ext.tuner._project_files import read_json, write_json
from keras_ext.tuner._synchronized import synchronized

# Of a hyperparameter.
Value: TypeAlias = bool | int | float | str
ENDED = ("COMPLETED", "FAILED")
# The start of a message that says that a trial has ended well, and early.
STOPPED = "Stopped after"


class StoredOracle(keras_tuner.Oracle):
    """Replaces files as a whole, and finds in those of the trials what others lack."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.ongoing_trials: dict[str, Trial]
        self.start_order: list[str]
        self.end_order: list[str]
        self.seed: int
        self._began: float | None = None
        self._seconds_before = 0.0
        self._since: dict[str, float] = {}
        self._took: dict[str, float] = {}

    def seconds(self) -> float:
        """How long the search has taken, before an interruption and after."""
        now = time.monotonic()
        self._began = now if self._began is None else self._began
        return self._seconds_before + now - self._began

    def seconds_of(self, trial_id: str) -> float | None:
        """How long a trial has taken, or None if no file says so."""
        now = time.monotonic()
        since = self._since.get(trial_id)
        if since is None:
            return self._took.get(trial_id)
        return self._took.get(trial_id, 0.0) + now - since

    @synchronized
    def create_trial(self, tuner_id: str) -> Trial:
        trial = super().create_trial(tuner_id)
        if trial.status == "RUNNING":
            trial.message = None  # of a run before this one
            self._since.setdefault(trial.trial_id, time.monotonic())
        return trial

    @synchronized
    def end_trial(self, trial: Trial) -> None:
        took = self.seconds_of(trial.trial_id)
        self._since.pop(trial.trial_id, None)
        self._took[trial.trial_id] = took or 0.0
        # That it was stopped is known here, where the worker's copy has no word of it.
        trial.message = trial.message or self.trials[trial.trial_id].message
        super().end_trial(trial)

    def watch(self, display: Display) -> None:
        """Has another display show what happens than that of KerasTuner."""
        self._display = display

    def _show(self, trial: Trial, step: int) -> None:
        """Shows an epoch, if the display is one that shows epochs."""
        on_report = getattr(self._display, "on_report", None)
        if on_report is not None:
            on_report(trial, step)

    def get_state(self) -> Record:
        more = {"seconds": self.seconds(), "trial_seconds": self._took}
        return {**super().get_state(), **more}

    def set_state(self, state: Record) -> None:
        super().set_state(state)
        self._seconds_before = state.get("seconds", 0.0)
        self._took = state.get("trial_seconds", {})

    def save(self) -> None:
        write_json(self._get_oracle_fname(), self.get_state())

    def _save_trial(self, trial: Trial) -> None:
        folder = self._get_trial_dir(trial.trial_id)
        write_json(os.path.join(folder, "trial.json"), trial.get_state())

    def reload(self) -> None:
        self.trials = dict(self._read_trials())
        state = read_json(self._get_oracle_fname())
        if state is None:
            warnings.warn(
                f"{self._get_oracle_fname()} is not whole: what the search knew is "
                f"taken from the files of its {len(self.trials)} trials.",
                stacklevel=2,
            )
            for trial in self.trials.values():
                self.update_space(trial.hyperparameters)
        else:
            self._take(state)
        self._put_in_order()
        self._replay()

    def _take(self, state: Record) -> None:
        try:
            self.set_state(_without_lost(state, self.trials))
        except KeyError as error:
            raise RuntimeError(
                f"The project in {self._project_dir} is of another kind of search: its "
                f"oracle.json has no {error}. Take another `project_name`, or begin "
                "anew with `overwrite=True`."
            ) from error

    def _read_trials(self) -> Iterator[tuple[str, Trial]]:
        names = os.listdir(self._project_dir)
        names = [name for name in names if name.startswith("trial_")]
        for name in sorted(names, key=lambda name: place_of(name[len("trial_") :])):
            path = os.path.join(self._project_dir, name, "trial.json")
            if os.path.exists(path):
                content = read_json(path)
                if content is None:
                    warnings.warn(f"{path} is not whole: left out.", stacklevel=3)
                    continue
                trial = Trial.from_state(content)
                yield trial.trial_id, trial

    def _put_in_order(self) -> None:
        """Makes the lists say what the files of the trials say."""
        ended = [i for i, t in self.trials.items() if t.status in ENDED]
        self.start_order = list(dict.fromkeys([*self.start_order, *self.trials]))
        end_order = [i for i in self.end_order if i in ended]
        self.end_order = list(dict.fromkeys([*end_order, *ended]))
        # The last of the queue is taken first: the oldest.
        waiting = [i for i in self.start_order if i not in ended]
        self._retry_queue = waiting[::-1]
        self.ongoing_trials = {}
        for trial in self.trials.values():
            self._record_values(trial)

    def _record_values(self, trial: Trial) -> None:
        # Not by `ensure_active_values` of KerasTuner, which draws what a trial has not
        # asked for, without the seed; and which takes the value of a name away that is
        # there again under other conditions.
        found = trial.hyperparameters
        known = {hp.name for hp in found.space}
        others = {n: v for n, v in found.values.items() if n not in known}
        active = active_in(found.space, found.values)
        found.values = others | {
            name: found.values.get(name, hp.default) for name, hp in active.items()
        }
        plain = SimpleNamespace(values=found.values, ensure_active_values=lambda: None)
        super()._record_values(
            SimpleNamespace(trial_id=trial.trial_id, hyperparameters=plain)
        )

    def _replay(self) -> None:
        """Takes note of the trials that were read."""


def active_in(
    space: Sequence[kinds.HyperParameter], values: Mapping[str, Value]
) -> dict[str, kinds.HyperParameter]:
    """From names to hyperparameters, those that a configuration has."""
    found = keras_tuner.HyperParameters()
    active = {}
    for hp in space:
        # `is_active` asks the values of parents, which come first in a space.
        found.merge([hp])
        if found.is_active(hp):
            active[hp.name] = hp
            found.values[hp.name] = values.get(hp.name, hp.default)
    return active


def place_of(trial_id: str) -> tuple[int, str]:
    """By what the names of trials are sorted, to be in their order.

    KerasTuner pads them with zeros, to as many digits as `max_trials` has: those of a
    search that goes on with more trials are longer than those before.

    Examples:
        >>> from keras_ext.tuner._stored_oracle import place_of
        >>> sorted(["010", "9", "009"], key=place_of)
        ['009', '9', '010']
    """
    return (int(trial_id) if trial_id.isdecimal() else 0), trial_id


def _without_lost(state: Record, trials: Mapping[str, Trial]) -> Record:
    """The state without the trials whose files are not whole."""
    for name in ("start_order", "end_order", "retry_queue"):
        state[name] = [i for i in state[name] if i in trials]
    state["ongoing_trials"] = {}
    return state
