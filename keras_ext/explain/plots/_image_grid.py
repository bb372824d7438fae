"""Images, and what in them has raised or lowered each output."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_ext._core._checks import is_integer, require
from keras_ext.explain._drawing import FAINT, INK, Shown, diverging, limit, pyplot

_FORM = "of the shape (rows, height, width), with channels or outputs behind, or both"


def image_grid(
    explanation: Any,
    *,
    images: Any = None,
    titles: Sequence[str] | None = None,
    max_rows: int = 6,
) -> Any:
    """Draws images, and beside each the values of its pixels, for one output or more.

    Red has raised the output, blue has lowered it; channels are added up. All pictures
    have one scale, so that rows and outputs can be compared.

    Args:
        explanation: A `shap.Explanation` of images, or an array of values.
        images: What to show of the rows, if it is not what the model was given:
            `(rows, height, width)`, or with 1 or 3 channels. None shows the data.
        titles: What stands above the images, such as the true class.
        max_rows: Positive integer; only so many rows are drawn. Defaults to `6`.

    Returns:
        A Matplotlib figure.

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
    valid = is_integer(max_rows) and max_rows > 0
    require(valid, "max_rows", max_rows, "a positive integer")
    shown = Shown(explanation, (2, 3), _FORM)
    values = shown.values
    heat = values if values.ndim == 4 else values.sum(axis=3)
    pictures = _pictures(shown.data if images is None else images, heat.shape[:3])
    count, columns = min(max_rows, len(heat)), 1 + shown.num_outputs
    valid = titles is None or len(titles) >= count
    require(valid, "titles", titles, f"{count} titles, one for each row")
    plt = pyplot()
    height, width = heat.shape[1:3]
    wide = 1.9 * min(max(width / height, 0.5), 2.0)
    figure, axes = plt.subplots(
        count,
        columns,
        figsize=(max(wide * columns, 3.6), 2.25 * count + 0.7),
        layout="constrained",
        squeeze=False,
    )
    most = limit(heat[:count])
    for row in range(count):
        _draw_picture(axes[row, 0], pictures[row], faint=False)
        title = "" if titles is None else str(titles[row])
        axes[row, 0].set_title(title, fontsize=9, color=INK)
        for output in range(shown.num_outputs):
            cell = axes[row, 1 + output]
            _draw_picture(cell, pictures[row], faint=True)
            overlay = _overlay(heat[row, :, :, output], most)
            cell.imshow(overlay, interpolation="nearest")
            cell.set_title(shown.caption(row, output), fontsize=9, color=INK)
    _draw_scale(plt, figure, axes, most)
    return figure


def _pictures(given: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Images from 0 to 1, `(rows, height, width)` or with three channels."""
    found = np.asarray(given, "float64") if given is not None else np.zeros(shape)
    valid = found.shape[:3] == shape and found.ndim in (3, 4)
    require(valid, "images", found.shape, f"of the shape {shape}, or with channels")
    if found.ndim == 4 and found.shape[3] != 3:
        found = found.mean(axis=3)
    low, high = float(np.nanmin(found)), float(np.nanmax(found))
    return (found - low) / (high - low if high > low else 1.0)


def _draw_picture(axes: Any, picture: np.ndarray, faint: bool) -> None:
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


def _draw_scale(plt: Any, figure: Any, axes: Any, most: float) -> None:
    norm = plt.Normalize(-most, most)
    scale = plt.cm.ScalarMappable(norm=norm, cmap=diverging())
    bar = figure.colorbar(
        scale, ax=axes, location="bottom", shrink=0.9, aspect=35, pad=0.02
    )
    bar.set_label("lowers the output  |  raises the output", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=8, colors=INK)
    bar.outline.set_visible(False)
