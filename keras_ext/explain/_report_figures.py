"""The figures of a report on features that have names."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_ext._core._extras import import_extra
from keras_ext._core._figures import BAR, FAINT, INK, finish, plain
from keras_ext._core._typing import Data, Figure
from keras_ext.explain._drawing import LOWERS, RAISES, drawing

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

_DOTS = 2000  # more than that cannot be told apart
_BINS = 60


def draw_swarm(names: Sequence[str], values: np.ndarray, data: Data) -> Figure:
    """A dot for each row and feature, in the color of what the feature was.

    Args:
        names: The names of the features.
        values: `(rows, features)`.
        data: The same shape, numbers or anything else, or None.
    """
    figure, axes = drawing(size=(7, 1.25 * BAR * len(names) + 0.9))
    step = -(-len(values) // _DOTS)
    dots = None
    for i in range(len(names)):
        x = values[::step, i]
        known = None if data is None else _ranks(data[::step, i])
        color = {"color": FAINT} if known is None else {"c": known, "cmap": _colors()}
        drawn = axes.scatter(x, i + _spread(x), s=9, lw=0, alpha=0.85, **color)
        dots = dots if known is None else drawn
    axes.axvline(0, color=FAINT, linewidth=0.8, zorder=0)
    axes.set_yticks(range(len(names)), [plain(name) for name in names], fontsize=9)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("value: what it adds to the output", fontsize=9, color=INK)
    finish(axes)
    if dots is not None:
        bar = figure.colorbar(dots, ax=axes, aspect=40, pad=0.02, ticks=[])
        bar.set_label("feature, from low to high", fontsize=9, color=INK)
        bar.outline.set_visible(False)
    return figure


def _colors() -> "Colormap":
    colors = import_extra("matplotlib.colors", "explain")
    ends = [LOWERS, "#9b3fa5", RAISES]
    return colors.LinearSegmentedColormap.from_list("low to high", ends)


def _ranks(feature: np.ndarray) -> np.ndarray | None:
    """From 0 for the lowest to 1 for the highest; None for what is no number."""
    try:
        numbers = np.asarray(feature, "float64")
    except (TypeError, ValueError):
        return None
    _, ranks = np.unique(numbers, return_inverse=True)
    return ranks.ravel() / max(int(ranks.max()), 1)


def _spread(x: np.ndarray) -> np.ndarray:
    """Moves dots at the same place apart, alternately up and down."""
    low, high = x.min(), x.max()
    bins: np.ndarray = np.zeros(len(x), int)
    if high > low:
        bins = np.minimum((x - low) / (high - low) * _BINS, _BINS - 1).astype(int)
    order = np.argsort(bins, kind="stable")
    counts = np.bincount(bins, minlength=_BINS)
    starts = np.cumsum(counts) - counts
    layer: np.ndarray = np.empty(len(x), int)
    # How many dots were in the same bin before.
    layer[order] = np.arange(len(x)) - starts[bins[order]]
    signed = np.where(layer % 2 == 0, 1, -1) * ((layer + 1) // 2)
    return np.asarray(0.36 * signed / max(1.0, float(counts.max()) / 2, 6.0))
