"""How far a search is, while it runs."""

import contextlib
import importlib.util
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from keras_tuner.engine.trial import Trial
from keras_tuner.src.engine.oracle import Display

from keras_ext.tuner._objectives import parts_of
from keras_ext.tuner._oracle import Oracle
from keras_ext.tuner._records import Record, record_of, records_of

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

_BETWEEN = 0.2  # seconds between two pictures
_WIDTH = 100


class Progress(Display):
    """Shows trials, epochs and the best so far, in place of what KerasTuner prints.

    In a terminal, where rich is installed, a few lines that change; in a notebook, and
    in a terminal without rich, one line that changes; in a file a line for each trial.

    Args:
        oracle: The oracle.
        clock: Gives the time in seconds.
    """

    def __init__(
        self, oracle: Oracle, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(oracle, verbose=0)
        self._clock = clock
        self._begin = self._shown_at = clock()
        self._done_before = 0
        self._running: dict[str, str] = {}
        self._live: Live | None = None
        self._width = 0

    def open(self) -> None:
        """Begins to show."""
        self._begin = self._clock()
        self._done_before = len(self.oracle.end_order)
        if way() == "rich":
            live = importlib.import_module("rich.live").Live
            self._live = live(self._panel(), refresh_per_second=4)
            self._live.start()

    def close(self) -> None:
        """Shows how it ended, and lets others write."""
        if self._live is not None:
            self._live.update(self._panel())
            self._live.stop()
            self._live = None
        elif self._width:
            self._write(self.line() + "\n")
            self._width = 0

    def on_trial_begin(self, trial: Trial) -> None:
        self._running[trial.trial_id] = ""
        self._changed()

    def on_report(self, trial: Trial, step: int) -> None:
        """An epoch, counted from 0, has ended."""
        told = [f"epoch {step + 1}"]
        for objective in parts_of(self.oracle.objective):
            value = trial.metrics.get_last_value(objective.name)
            told.append(f"{objective.name} {value:.4g}")
        self._running[trial.trial_id] = ", ".join(told)
        self._changed()

    def on_trial_end(self, trial: Trial) -> None:
        self._running.pop(trial.trial_id, None)
        if way() == "lines":
            self._write(self._ended(trial) + "\n")
        self._changed(at_once=True)

    def _changed(self, at_once: bool = False) -> None:
        now = self._clock()
        if not at_once and now - self._shown_at < _BETWEEN:
            return
        self._shown_at = now
        if self._live is not None:
            self._live.update(self._panel())
        elif way() != "lines":
            text = self.line()[:_WIDTH]
            # Blanks cover what is left of a longer line.
            self._write("\r" + text.ljust(self._width))
            self._width = len(text)

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            sys.stdout.write(text)
            sys.stdout.flush()

    def _ended(self, trial: Trial) -> str:
        record = record_of(self.oracle, trial)
        told = f"trial {record.trial}: {record.status}"
        if record.score is not None:
            told += f", {_scores(record, self.oracle)}"
        if record.epochs > 1:
            told += f" after {record.epochs} epochs"
        if record.status == "failed":
            told += f": {record.reason}"
        # In a population others run on, and end with it.
        return f"{told} ({' | '.join(self._parts(foresee=not self._running))})"

    def line(self) -> str:
        """All that is known, in one line."""
        parts = self._parts(foresee=len(self._running) <= 1)
        parts += [f"trial {name}: {text}" for name, text in self._running.items()]
        return " | ".join(parts)

    def _parts(self, *, foresee: bool) -> list[str]:
        best = self._best()
        return [self._count(), *(["best " + best] if best else []), self._time(foresee)]

    def _count(self) -> str:
        total = self.oracle.max_trials
        return f"{len(self.oracle.end_order)}" + (f"/{total}" if total else "")

    def _best(self) -> str:
        trials = self.oracle.get_best_trials()
        best = record_of(self.oracle, trials[0]) if trials else None
        if best is None or best.score is None:
            return ""
        return f"{_scores(best, self.oracle)} (trial {best.trial})"

    def _time(self, foresee: bool) -> str:
        took, total = self._clock() - self._begin, self.oracle.max_trials
        done = len(self.oracle.end_order)
        since = done - self._done_before
        if not foresee or not total or not since or done >= total:
            return clock_time(took)
        left = took / since * (total - done)
        return f"{clock_time(took)}, about {clock_time(left)} left"

    def _panel(self) -> "Table":
        """What rich shows: a bar, and what is known below it."""
        bars = importlib.import_module("rich.progress_bar")
        grid = importlib.import_module("rich.table").Table.grid(padding=(0, 2))
        done, total = len(self.oracle.end_order), self.oracle.max_trials
        took = self._time(foresee=len(self._running) <= 1)
        bar = bars.ProgressBar(total=total, completed=done, width=40, pulse=not total)
        grid.add_row("search", bar, f"{self._count()} trials, {took}")
        grid.add_row("best", self._best() or "none yet", self._epochs())
        for name, text in self._running.items():
            grid.add_row("running", f"trial {name}", text)
        return grid

    def _epochs(self) -> str:
        records = records_of(self.oracle)
        stopped = sum(record.status == "stopped" for record in records)
        told = f"{sum(record.epochs for record in records)} epochs"
        return f"{told}, {stopped} trials stopped" if stopped else told


def _scores(record: Record, oracle: Oracle) -> str:
    name = oracle.objective.name or "score"
    values: Mapping[str, float | None] = record.objectives or {name: record.score}
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def clock_time(seconds: float) -> str:
    """As `1:02` or `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def way() -> str:
    """How to show: `"rich"`, `"line"` that changes, or `"lines"`."""
    # A notebook is no terminal, but rewrites a line after a carriage return.
    if "ipykernel" in sys.modules:
        return "line"
    if not sys.stdout.isatty():
        return "lines"
    return "rich" if importlib.util.find_spec("rich") else "line"
