"""The figures of a report on a search."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from keras_tuner import Objective
from keras_tuner.engine import hyperparameters as kinds

from keras_ext._core._extras import import_extra
from keras_ext._core._figures import FAINT, INK, NEUTRAL, new_figure, plain
from keras_ext._core._typing import Figure
from keras_ext.tuner._objectives import cost_of
from keras_ext.tuner._records import Record, best_so_far, in_order

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BEST = "#e8590c"
_EXTRA = "tuner"
_NOT_ACTIVE = -0.2
_MOST_AXES, _MOST_SLICES, _MOST_WORDS = 10, 6, 12


def draw_curves(records: Sequence[Record], objective: Objective) -> Figure:
    """The objective at each epoch: a dot ends what was stopped, the best is thick."""
    figure, axes = new_figure(extra=_EXTRA, size=(7.4, 3.8))
    best = _best(records)
    for record in records:
        epochs, values = zip(*record.curve, strict=True) if record.curve else ((), ())
        is_best = record is best
        color = BEST if is_best else NEUTRAL
        style = {"color": color, "alpha": 1.0 if is_best else 0.45, "zorder": 2}
        axes.plot(epochs, values, lw=2.2 if is_best else 1.0, **style)
        if record.status == "stopped" or len(epochs) == 1:
            axes.plot(epochs[-1:], values[-1:], "o", ms=3.2, **style)
        if record.status == "failed":
            axes.plot(epochs[-1:], values[-1:], "x", ms=5, **style)
    _limit(axes, [value for r in records for _, value in r.curve], objective)
    axes.set(xlabel="epoch", ylabel=plain(objective.name))
    _finish(axes)
    return figure


def draw_progress(records: Sequence[Record], objective: Objective, unit: str) -> Figure:
    """The best score against what was spent until then."""
    figure, axes = new_figure(extra=_EXTRA, size=(7.4, 3.0))
    spent = 0
    for record in in_order(records):
        spent += max(record.epochs, 1)
        if record.score is not None:
            axes.plot(spent, record.score, "o", ms=3.5, color=NEUTRAL, alpha=0.6)
    steps = best_so_far(list(records), objective)
    if steps:
        x, y = zip(*[*steps, (spent, steps[-1][1])], strict=True)
        axes.step(x, y, where="post", color=BEST, lw=2)
    _limit(axes, [r.score for r in records if r.score is not None], objective)
    axes.set(xlabel=unit, ylabel=plain(objective.name or "score"))
    _finish(axes)
    return figure


def draw_parallel(
    records: Sequence[Record],
    space: Mapping[str, kinds.HyperParameter],
    objective: Objective,
) -> Figure:
    """A line for each trial, through its values, in the color of its rank."""
    names = list(space)[:_MOST_AXES]
    figure, axes = new_figure(extra=_EXTRA, size=(7.4, 4.2))
    scored = [record for record in records if record.score is not None]
    ranks = _ranks([cost_of(objective, _score(record)) for record in scored])
    scales = {name: Scale(space[name], [r.values for r in scored]) for name in names}
    scores = [_score(record) for record in scored]
    low, high = min(scores), max(scores)
    colors = import_extra("matplotlib", _EXTRA).colormaps["viridis"]
    best = _best(records)
    # The best come last, over the others.
    for record, rank in zip(scored[::-1], ranks[::-1], strict=True):
        line = [scales[name].place(record.values) for name in names]
        line.append((_score(record) - low) / (high - low) if high > low else 0.5)
        style = {"color": colors(0.95 * rank), "lw": 0.9, "alpha": 0.6, "zorder": 2}
        if record is best:
            style = {"color": BEST, "lw": 2.2, "zorder": 3}
        axes.plot(range(len(line)), line, **style)
    for i, name in enumerate(names):
        _axis(axes, i, scales[name].ticks())
    _axis(axes, len(names), [(0.0, f"{low:.4g}"), (1.0, f"{high:.4g}")])
    labels = [*names, objective.name or "score"]
    axes.set_xticks(range(len(labels)), [plain(n) for n in labels], rotation=20)
    axes.set_yticks([])
    axes.set_ylim(1.05 * _NOT_ACTIVE, 1.05)
    axes.spines[:].set_visible(False)
    axes.tick_params(axis="x", labelsize=8, colors=INK, length=0)
    return figure


def _axis(axes: "Axes", x: int, ticks: Sequence[tuple[float, str]]) -> None:
    axes.axvline(x, color=FAINT, lw=0.8, zorder=1)
    for place, text in ticks:
        axes.text(x + 0.03, place, plain(text), fontsize=7, color=INK, zorder=4)


def draw_slices(
    records: Sequence[Record],
    space: Mapping[str, kinds.HyperParameter],
    objective: Objective,
) -> Figure:
    """The score against each hyperparameter, a dot for each trial."""
    names = list(space)[:_MOST_SLICES]
    rows = -(-len(names) // 3)
    figure, grid = new_figure(
        rows, 3, extra=_EXTRA, size=(7.4, 2.3 * rows), squeeze=False, sharey=True
    )
    scored = [record for record in records if record.score is not None]
    best = _best(records)
    for name, axes in zip(names, grid.flat, strict=False):
        scale = Scale(space[name], [record.values for record in scored])
        for record in scored:
            x = scale.place(record.values)
            is_best = record is best
            color, size = (BEST, 6) if is_best else (NEUTRAL, 3.5)
            alpha = 1.0 if is_best else 0.55
            axes.plot(x, record.score, "o", ms=size, color=color, alpha=alpha)
        places, texts = zip(*scale.ticks(), strict=True)
        axes.set_xticks(places, [plain(text) for text in texts])
        axes.set_title(plain(name), fontsize=9, color=INK)
        _finish(axes)
    # `sharey` gives the limits to all others.
    _limit(grid.flat[0], [_score(record) for record in scored], objective)
    for axes in list(grid.flat)[len(names) :]:
        axes.set_visible(False)
    return figure


def draw_front(
    records: Sequence[Record], front: Sequence[str], objectives: Sequence[Objective]
) -> Figure:
    """Each pair of objectives, with the trials of the Pareto front."""
    names = [objective.name for objective in objectives]
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    columns = min(len(pairs), 2)
    rows = -(-len(pairs) // columns)
    figure, grid = new_figure(
        rows, columns, extra=_EXTRA, size=(7.4, 3.6 * rows), squeeze=False
    )
    scored = [record for record in records if record.score is not None]
    for (first, second), axes in zip(pairs, grid.flat, strict=False):
        points = {r.trial: (r.objectives[first], r.objectives[second]) for r in scored}
        for trial, (x, y) in points.items():
            on_front = trial in front
            color = BEST if on_front else NEUTRAL
            axes.plot(x, y, "o", ms=5 if on_front else 3.5, color=color, alpha=0.8)
        if len(names) == 2:
            ends = zip(*sorted(points[trial] for trial in front), strict=True)
            # What is as good in the first has the second of the trial that reaches it.
            where = "post" if objectives[0].direction == "min" else "pre"
            axes.step(*ends, where=where, color=BEST, lw=1, alpha=0.6)
        axes.set(xlabel=plain(first), ylabel=plain(second))
        _finish(axes)
    for axes in list(grid.flat)[len(pairs) :]:
        axes.set_visible(False)
    return figure


class Scale:
    """Where the values of a hyperparameter lie, from 0 to 1.

    Args:
        hp: The hyperparameter.
        all_values: The values of all trials: the ends are those that were tried.
    """

    def __init__(
        self, hp: kinds.HyperParameter, all_values: Sequence[Mapping[str, Any]]
    ) -> None:
        self._name = hp.name
        self._is_log = getattr(hp, "sampling", None) == "log"
        seen = [values[hp.name] for values in all_values if hp.name in values]
        self._words: list[object] = []
        if isinstance(hp, kinds.Choice | kinds.Boolean):
            known = list(getattr(hp, "values", []))
            known = sorted(known) if isinstance(hp, kinds.Boolean) else known
            self._words = [word for word in known if word in seen]
        ends: tuple[float, float] = (
            (0.0, 1.0) if self._words or not seen else (min(seen), max(seen))
        )
        self._low, self._high = ends
        self.has_inactive = len(seen) < len(all_values)

    def place(self, values: Mapping[str, Any]) -> float:
        """The place of the value of a trial; below all if it is not active."""
        if self._name not in values:
            return _NOT_ACTIVE
        value = values[self._name]
        if self._words:
            return self._words.index(value) / max(len(self._words) - 1, 1)
        low, high, value = (self._moved(v) for v in (self._low, self._high, value))
        return (value - low) / (high - low) if high > low else 0.5

    def _moved(self, value: float) -> float:
        return math.log(value) if self._is_log else float(value)

    def ticks(self) -> list[tuple[float, str]]:
        """Places, and what to write there."""
        found = [(0.0, _text(self._low)), (1.0, _text(self._high))]
        if self._words:
            step = -(-len(self._words) // _MOST_WORDS)
            words = self._words[::step]
            found = [(self.place({self._name: word}), _text(word)) for word in words]
        elif self._low == self._high:
            found = [(0.5, _text(self._low))]
        return [*found, (_NOT_ACTIVE, "unused")] if self.has_inactive else found


def _score(record: Record) -> float:
    return math.nan if record.score is None else record.score


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _best(records: Sequence[Record]) -> Record | None:
    return next((record for record in records if record.score is not None), None)


def _ranks(costs: Sequence[float]) -> np.ndarray:
    """From 0 for the best to 1 for the worst."""
    order = np.argsort(np.argsort(costs))
    return np.asarray(order / max(len(costs) - 1, 1))


def _limit(axes: "Axes", values: Sequence[float], objective: Objective) -> None:
    """A few diverging values would leave the others without height."""
    finite = np.asarray([v for v in values if math.isfinite(v)])
    if not finite.size:
        return
    low, high = finite.min(), finite.max()
    if objective.direction == "max":
        low = max(low, np.percentile(finite, 50) - 3 * (high - np.median(finite)))
    else:
        high = min(high, np.percentile(finite, 50) + 3 * (np.median(finite) - low))
    pad = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    axes.set_ylim(low - pad, high + pad)


def _finish(axes: "Axes") -> None:
    axes.tick_params(labelsize=8, colors=INK)
    axes.xaxis.label.set(fontsize=9, color=INK)
    axes.yaxis.label.set(fontsize=9, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
