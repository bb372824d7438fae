"""Images, and what in them has raised or lowered each output."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_ext._core._checks import integer, require, texts
from keras_ext._core._extras import import_extra
from keras_ext._core._figures import FAINT, INK, plain
from keras_ext._core._typing import Data, Explanation, Figure
from keras_ext.explain._arguments import as_numbers
from keras_ext.explain._drawing import Shown, diverging, drawing, limit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FORM = "of the shape (rows, height, width), with channels or outputs behind, or both"
_MOST_IN_A_LINE = 5
_LONG_TITLE = 24


def image_grid(
    explanation: Explanation,
    *,
    images: Data = None,
    titles: Sequence[str] | None = None,
    max_rows: int = 6,
) -> Figure:
    """Draws images, and beside each the values of its pixels, for one output or more.

    Red has raised the output, blue has lowered it; channels are added up. All pictures
    have one scale, so that rows and outputs can be compared.

    Args:
        explanation: A `shap.Explanation` of images, or an array of values.
        images: What to show of the rows, if it is not what the model was given:
            `(rows, height, width)`, or with 1 or 3 channels. None shows the data.
        titles: What stands above the images, such as the true class. None means
            nothing.
        max_rows: Integer >= 1; the number of rows drawn at most. Defaults to `6`.

    Returns:
        A Matplotlib figure, which pyplot does not keep open.

    Raises:
        ValueError: If an argument is not of this form.
        ImportError: If Matplotlib is not installed.

    Examples:
        >>> import numpy as np, shap
        >>> import keras_ext as kx
        >>> values = np.random.default_rng(0).normal(size=(2, 8, 8, 1))
        >>> explanation = shap.Explanation(values, np.zeros(2), data=values)
        >>> figure = kx.explain.plots.image_grid(explanation, titles=["a", "b"])
        >>> figure.axes[0].get_title()
        'a'
    """
    max_rows = integer(max_rows, "max_rows", low=1)
    (figure,) = image_figures(explanation, images, [range(max_rows)], titles)
    return figure


def image_figures(
    explanation: Explanation,
    images: Data,
    groups: Sequence[Sequence[int]],
    titles: Sequence[str] | None = None,
) -> Iterator[Figure]:
    """Draws a figure for each group of rows, all with one scale."""
    shown = Shown(explanation, (2, 3), _FORM)
    values = shown.values
    heat = values if values.ndim == 4 else values.sum(axis=3)
    pictures = _pictures(shown.data if images is None else images, heat.shape[:3])
    drawn = [[row for row in rows if row < len(heat)] for rows in groups]
    count = max(map(len, drawn))
    if titles is not None:
        titles = texts(titles, "titles", count, "one for each row", more=True)
    grid = _Grid(
        shown, heat, pictures, limit(heat[[i for rows in drawn for i in rows]])
    )
    for rows in drawn:
        yield grid.draw(rows, titles)


class _Grid:
    """Draws rows of pictures; many outputs take several lines."""

    def __init__(
        self, shown: Shown, heat: np.ndarray, pictures: np.ndarray, most: float
    ) -> None:
        self._shown, self._heat, self._pictures = shown, heat, pictures
        self._most = most
        self._lines = -(-shown.num_outputs // _MOST_IN_A_LINE)
        self._in_a_line = -(-shown.num_outputs // self._lines)

    def draw(self, rows: Sequence[int], titles: Sequence[str] | None) -> Figure:
        height, width = self._heat.shape[1:3]
        wide = 1.9 * min(max(width / height, 0.5), 2.0)
        lines, columns = len(rows) * self._lines, 1 + self._in_a_line
        size = (max(wide * columns, 3.6), 2.25 * lines + 0.7)
        figure, axes = drawing(lines, columns, size=size, squeeze=False)
        for place, row in enumerate(rows):
            own = axes[place * self._lines : (place + 1) * self._lines]
            title = "" if titles is None else str(titles[place])
            self._draw_row(row, own, title)
        _draw_scale(figure, axes, self._most)
        return figure

    def _draw_row(self, row: int, axes: Any, title: str) -> None:
        picture = self._pictures[row]
        _draw_picture(axes[0, 0], picture, faint=False)
        _title(axes[0, 0], title)
        cells = axes[:, 1:].ravel()
        for output in range(self._shown.num_outputs):
            cell = cells[output]
            _draw_picture(cell, picture, faint=True)
            overlay = _overlay(self._heat[row, :, :, output], self._most)
            cell.imshow(overlay, interpolation="nearest")
            _title(cell, self._shown.caption(row, output))
        for empty in (*axes[1:, 0], *cells[self._shown.num_outputs :]):
            empty.set_axis_off()


def _title(axes: "Axes", text: str) -> None:
    if len(text) > _LONG_TITLE:  # it would reach into the next one
        text = text.replace(": ", ":\n", 1)
    axes.set_title(plain(text), fontsize=9, color=INK)


def _pictures(given: Data, shape: tuple[int, ...]) -> np.ndarray:
    """Images from 0 to 1, `(rows, height, width)` or with three channels."""
    rule = f"of the shape {shape}, or with channels"
    found = np.zeros(shape) if given is None else as_numbers(given, "images", rule)
    valid = found.shape[:3] == shape and found.ndim in (3, 4)
    require(valid, "images", found.shape, rule)
    if found.ndim == 4 and found.shape[3] != 3:
        found = found.mean(axis=3)
    low, high = float(np.nanmin(found)), float(np.nanmax(found))
    return (found - low) / (high - low if high > low else 1.0)


def _draw_picture(axes: "Axes", picture: np.ndarray, faint: bool) -> None:
    if faint and picture.ndim == 3:
        picture = picture.mean(axis=2)
    if faint:  # so that colors have room
        picture = 0.8 + 0.2 * picture
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set(color=FAINT, linewidth=0.6)


def _overlay(heat: np.ndarray, most: float) -> np.ndarray:
    """Colors that are the more opaque, the larger the values are."""
    part = np.clip(np.nan_to_num(heat) / most, -1, 1)
    colors = diverging()((np.sign(part) + 1) / 2)
    colors[..., 3] = np.abs(part) ** 0.75
    return np.asarray(colors)


def _draw_scale(figure: Figure, axes: np.ndarray, most: float) -> None:
    norm = import_extra("matplotlib.colors", "explain").Normalize(-most, most)
    color = import_extra("matplotlib.cm", "explain")
    scale = color.ScalarMappable(norm=norm, cmap=diverging())
    bar = figure.colorbar(
        scale, ax=axes, location="bottom", shrink=0.9, aspect=35, pad=0.02
    )
    bar.set_label("lowers the output  |  raises the output", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=8, colors=INK)
    bar.outline.set_visible(False)
