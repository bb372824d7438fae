"""Figures of Matplotlib that nobody has to close."""

import functools
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_ext._core._extras import import_extra
from keras_ext._core._typing import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, FAINT, NEUTRAL = "#333333", "#999999", "#5a6b8c"
BAR = 0.32  # what a row of a figure is high, in inches


def new_figure(
    rows: int = 1,
    columns: int = 1,
    *,
    extra: str,
    size: tuple[float, float],
    **axes: object,
) -> tuple[Figure, Any]:
    """Makes a figure that pyplot knows nothing of, and its axes.

    Pyplot keeps what it makes until it is closed: a loop of trainings would collect
    figures, and a notebook show each of them twice.

    Args:
        rows: How many axes stand below one another. Defaults to `1`.
        columns: How many stand side by side. Defaults to `1`.
        extra: The extra of keras-ext that installs Matplotlib.
        size: Width and height in inches.
        **axes: What else `Figure.subplots` takes.

    Returns:
        The figure, and one axes or an array of them, as of `pyplot.subplots`.

    Examples:
        >>> from matplotlib import pyplot
        >>> from keras_ext._core._figures import new_figure
        >>> figure, (upper, lower) = new_figure(2, extra="explain", size=(4, 3))
        >>> pyplot.get_fignums()
        []
    """
    module = import_extra("matplotlib.figure", extra)
    figure = module.Figure(figsize=size, layout="constrained")
    # Notebooks know how to show the figures of pyplot only, and this one not.
    figure._repr_png_ = functools.partial(_as_png, figure)
    return figure, figure.subplots(rows, columns, **axes)


def _as_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def plain(text: object) -> str:
    r"""Text as it is, for Matplotlib, which takes what is between dollars for formulas.

    Examples:
        >>> from keras_ext._core._figures import plain
        >>> print(plain("US$ per A$"))
        US\$ per A\$
    """
    return str(text).replace("$", r"\$")


def draw_bars(
    names: Sequence[str],
    lengths: np.ndarray,
    *,
    label: str,
    extra: str,
    others: bool = False,
) -> Figure:
    """Lying bars, the first on top.

    Args:
        names: What stands before them.
        lengths: How long they are.
        label: What the lengths are.
        extra: The extra of keras-ext that installs Matplotlib.
        others: Whether the last bar is that of all others. Defaults to `False`.
    """
    figure, axes = new_figure(extra=extra, size=(7, BAR * len(names) + 0.8))
    places = np.arange(len(names))
    axes.barh(places, lengths, color=NEUTRAL, height=0.68)
    axes.set_yticks(places, [plain(name) for name in names], fontsize=9)
    if others:
        axes.get_yticklabels()[-1].set_color(FAINT)
        axes.patches[-1].set_color(FAINT)
    axes.set_xlabel(label, fontsize=9, color=INK)
    finish(axes)
    return figure


def finish(axes: "Axes") -> None:
    """Rows from top to bottom, and only the axis below."""
    if not axes.yaxis_inverted():
        axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8, colors=INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
