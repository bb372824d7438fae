"""Curves over epochs, in panels."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from keras_ext._core._figures import new_figure, plain
from keras_ext._core._typing import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_EXTRA = "telemetry"
_MOST_COLUMNS = 3  # more would be too small to read on a page
_PANEL = (3.0, 2.5)  # inches
_SINGLE = (5.0, 2.5)
_MOST_ON_A_LINEAR_SCALE = 1000  # from the smallest to the largest


@dataclass(frozen=True)
class Curve:
    """One curve.

    Attributes:
        epochs: The epochs, counted from 1 as the progress bar does.
        values: A number for each.
        label: What it shows; None if the title of the panel says so.
        style: What else `Axes.plot` takes.
    """

    epochs: Sequence[int]
    values: Sequence[float]
    label: str | None = None
    style: Mapping[str, Any] = field(default_factory=dict)


def draw_panels(
    panels: Mapping[str, Sequence[Curve]], marks: Mapping[str, int] | None = None
) -> Figure:
    """Draws a panel of curves for each title.

    Args:
        panels: From title to its curves.
        marks: From text to the epoch that it is about, counted from 1.

    What is positive and spans more than three decades is drawn on a logarithmic scale.

    Returns:
        A figure that pyplot does not know.
    """
    rows = math.ceil(len(panels) / _MOST_COLUMNS)
    columns = math.ceil(len(panels) / rows)  # four are two by two
    width, height = _PANEL if len(panels) > 1 else _SINGLE
    size = (width * columns, height * rows)
    figure, grid = new_figure(rows, columns, extra=_EXTRA, size=size, squeeze=False)
    places = list(grid.flat)
    for axes, (title, curves) in zip(places, panels.items(), strict=False):
        axes.set_title(plain(title), fontsize=10)
        axes.set_xlabel("epoch")
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.get_major_locator().set_params(integer=True)
        for curve in curves:
            _draw(axes, curve)
        if _spans_decades(curves):
            axes.set_yscale("log")
        for text, epoch in (marks or {}).items():
            # Once is enough: they are in the same place in every panel.
            label = plain(text) if axes is places[0] else None
            axes.axvline(epoch, color="0.4", linestyle=":", label=label)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(fontsize="small")
    for axes in places[len(panels) :]:
        axes.remove()
    return figure


def _spans_decades(curves: Sequence[Curve]) -> bool:
    values = [v for curve in curves for v in curve.values if math.isfinite(v)]
    low, high = min(values, default=0), max(values, default=0)
    return low > 0 and high > _MOST_ON_A_LINEAR_SCALE * low


def _draw(axes: "Axes", curve: Curve) -> None:
    style = dict(curve.style)
    if len(curve.values) == 1:
        style.setdefault("marker", "o")  # a line of one point is not seen
    if all(isinstance(value, int) for value in curve.values):
        style.setdefault("drawstyle", "steps-mid")
    label = None if curve.label is None else plain(curve.label)
    axes.plot(curve.epochs, curve.values, label=label, **style)
