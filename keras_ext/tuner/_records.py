"""What is known of the trials of a search, as plain values."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import keras_tuner
import numpy as np
from keras_tuner import Objective
from keras_tuner.engine.trial import Trial

from keras_ext._core._extras import import_extra
from keras_ext.tuner._folding_oracle import FOLDS
from keras_ext.tuner._objectives import cost_of, parts_of
from keras_ext.tuner._oracle import Oracle
from keras_ext.tuner._stored_oracle import ENDED, STOPPED, Value, place_of

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Record:
    """A trial.

    Attributes:
        trial: Its name.
        status: `"completed"`, `"stopped"`, `"failed"` or `"running"`.
        score: The objective, or None if there is none.
        objectives: Of each single objective its value, at the epoch of the score.
        best_epoch: Which epoch the score is of, counted from 1.
        epochs: How many epochs were reported.
        seconds: How long it took.
        values: The hyperparameters.
        metrics: The other metrics, at the epoch of the score.
        curve: Epochs, counted from 1, and the objective at each.
        reason: Why it was stopped or has failed.
    """

    trial: str
    status: str
    score: float | None
    objectives: dict[str, float]
    best_epoch: int
    epochs: int
    seconds: float | None
    values: dict[str, Value]
    metrics: dict[str, float]
    curve: list[tuple[int, float]] = field(repr=False)
    reason: str = ""


def records_of(oracle: Oracle) -> list[Record]:
    """The trials of an oracle, best first, those without a score at the end."""
    trials = oracle.get_best_trials(len(oracle.trials))
    found = [record_of(oracle, trial) for trial in trials]
    most = max([record.epochs for record in found], default=0)
    # A rule may stop a trial at an epoch that would have been its last.
    found = [
        replace(record, status="completed", reason="")
        if record.status == "stopped" and record.epochs == most
        else record
        for record in found
    ]
    return sorted(found, key=lambda record: record.score is None)


def record_of(oracle: Oracle, trial: Trial) -> Record:
    """A trial of an oracle."""
    objective = oracle.objective
    curve = [(step + 1, value) for step, value in _history(trial, objective.name)]
    score = trial.score if trial.status == "COMPLETED" else None
    values = {n: _value_at(trial, n, trial.best_step) for n in trial.metrics.metrics}
    values.pop(FOLDS, None)
    names = [o.name for o in parts_of(objective)]
    reason = _reason(trial.message or "")
    was_stopped = score is not None and reason.startswith(STOPPED)
    status = trial.status.lower() if trial.status in ENDED else "running"
    return Record(
        trial=trial.trial_id,
        status="stopped" if was_stopped else status,
        score=score if score is None or math.isfinite(score) else None,
        objectives={n: values[n] for n in names if n in values},
        best_epoch=int(trial.best_step) + 1,
        epochs=len(curve),
        seconds=oracle.seconds_of(trial.trial_id),
        values=dict(trial.hyperparameters.values),
        metrics={n: v for n, v in values.items() if n not in (*names, objective.name)},
        curve=curve,
        reason=reason,
    )


def _history(trial: Trial, name: str) -> Iterator[tuple[int, float]]:
    if trial.metrics.exists(name):
        for seen in trial.metrics.get_history(name):
            yield int(seen.step), float(np.mean(seen.value))


def _value_at(trial: Trial, name: str, step: int) -> float:
    """A metric at an epoch, or the last that was seen."""
    history = dict(_history(trial, name))
    return history.get(int(step), list(history.values())[-1] if history else math.nan)


def _reason(message: str) -> str:
    """Of a message with a traceback, the line that says what has happened."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if not lines:
        return ""
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]


def in_order(records: Iterable[Record]) -> list[Record]:
    """The trials in the order in which they were begun."""
    return sorted(records, key=lambda record: place_of(record.trial))


def longest(records: list[Record], tuner: keras_tuner.Tuner) -> int:
    """The epochs of a trial that is not stopped, as far as they are known."""
    told = getattr(tuner, "max_epochs", None) or 0
    return max([int(told), *(curve[0] for r in records for curve in r.curve)])


def best_so_far(records: list[Record], objective: Objective) -> list[tuple[int, float]]:
    """The epochs spent, in the order of the trials, and the best score until then."""
    spent, best, points = 0, math.inf, []
    for record in in_order(records):
        spent += max(record.epochs, 1)
        if record.score is not None:
            best = min(best, cost_of(objective, record.score))
            points.append((spent, cost_of(objective, best)))
    return points


def frame_of(oracle: Oracle) -> "pandas.DataFrame":
    """A `pandas.DataFrame` with a row for each trial, best first."""
    pandas = import_extra("pandas", "tuner")
    rows = []
    for r in records_of(oracle):
        row = {
            "trial": r.trial,
            "status": r.status,
            "score": math.nan if r.score is None else r.score,
            "best_epoch": r.best_epoch if r.score is not None else None,
            "epochs": r.epochs,
            "seconds": r.seconds,
            "reason": r.reason,
        }
        metrics = {**r.objectives, **r.metrics}
        row |= {f"metric.{name}": value for name, value in metrics.items()}
        row |= {f"hp.{name}": value for name, value in r.values.items()}
        rows.append(row)
    return pandas.DataFrame(rows)
