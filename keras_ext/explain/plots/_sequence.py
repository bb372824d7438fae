"""A sequence, and what in it has raised or lowered an output."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_ext._core._checks import texts
from keras_ext._core._figures import FAINT, INK, plain
from keras_ext._core._typing import Explanation, Figure
from keras_ext.explain._arguments import as_numbers
from keras_ext.explain._drawing import (
    LOWERS,
    RAISES,
    Shown,
    colormap,
    diverging,
    drawing,
    limit,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FORM = "of the shape (rows, steps) or (rows, steps, features), with or without outputs"
_MOST_LINES = 6
_MOST_LABELS = 25


def sequence(
    explanation: Explanation,
    *,
    row: int = 0,
    output: int | str | None = None,
    feature_names: Sequence[str] | None = None,
) -> Figure:
    """Draws one sequence, the values of its steps and features, and their sums.

    From top to bottom: what the model was given; which features at which steps have
    raised (red) or lowered (blue) the output; and the sum of each step.

    Args:
        explanation: A `shap.Explanation` of sequences, or an array of values.
        row: Which row, an integer. Defaults to `0`.
        output: The number or name of an output. None where there is only one.
        feature_names: The names of the features of a step. None takes those of the
            explanation, or numbers them.

    Returns:
        A Matplotlib figure, which pyplot does not keep open.

    Raises:
        ValueError: If an argument is not of this form.
        ImportError: If Matplotlib is not installed.

    Examples:
        >>> import numpy as np, shap
        >>> import keras_ext as kx
        >>> values = np.random.default_rng(0).normal(size=(3, 20, 2))
        >>> explanation = shap.Explanation(values, np.zeros(3), data=values)
        >>> names = ["speed", "height"]
        >>> figure = kx.explain.plots.sequence(explanation, row=1, feature_names=names)
        >>> len(figure.axes) >= 3
        True
    """
    shown = Shown(explanation, (1, 2), _FORM)
    shown.require_row(row)
    which = shown.output(output)
    values = shown.values[row, ..., which]
    values = values if values.ndim == 2 else values[:, None]
    count = values.shape[1]
    names = shown.features(row) if count > 1 else ["feature 0"]
    if feature_names is not None:
        rule = "one for each feature"
        names = texts(feature_names, "feature_names", count, rule)
    rule = "of numbers, which can be drawn"
    data = shown.data
    data = None if data is None else as_numbers(data[row], "explanation.data", rule)
    figure, panels = _panels(data is not None, count)
    if data is not None:
        _draw_data(panels["data"], data.reshape(values.shape), names)
    if count > 1:
        _draw_values(figure, panels["values"], values, names)
    _draw_sums(panels["sums"], values.sum(axis=1))
    figure.suptitle(plain(shown.caption(row, which)), fontsize=11, color=INK)
    return figure


def _panels(has_data: bool, features: int) -> tuple[Figure, dict[str, "Axes"]]:
    heights = {"data": 1.6} if has_data else {}
    if features > 1:
        heights["values"] = min(max(0.25 * features, 1.2), 5.0)
    heights["sums"] = 1.3
    figure, axes = drawing(
        len(heights),
        size=(8, sum(heights.values()) + 0.9),
        sharex=True,
        gridspec_kw={"height_ratios": list(heights.values())},
        squeeze=False,
    )
    panels = dict(zip(heights, axes[:, 0], strict=True))
    for axes_ in panels.values():
        axes_.tick_params(labelsize=8, colors=INK)
        axes_.spines[["top", "right"]].set_visible(False)
    panels["sums"].set_xlabel("step", fontsize=9, color=INK)
    return figure, panels


def _draw_data(axes: "Axes", data: np.ndarray, names: list[str]) -> None:
    axes.set_ylabel("data", fontsize=9, color=INK)
    if data.shape[1] > _MOST_LINES:
        axes.imshow(data.T, aspect="auto", cmap="Greys", interpolation="nearest")
        axes.set_yticks([])
        return
    steps = np.arange(len(data))
    colors = colormap("viridis")(np.linspace(0.1, 0.85, data.shape[1]))
    for i, name in enumerate(names):
        marker = "o" if len(data) <= 40 else None
        style = {"color": colors[i], "lw": 1.4, "marker": marker, "ms": 3}
        axes.plot(steps, data[:, i], label=plain(name), **style)
    if data.shape[1] > 1:
        axes.legend(
            fontsize=8,
            frameon=False,
            ncols=data.shape[1],
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            borderaxespad=0.0,
        )


def _draw_values(
    figure: Figure, axes: "Axes", values: np.ndarray, names: list[str]
) -> None:
    most = limit(values)
    image = axes.imshow(
        values.T,
        aspect="auto",
        cmap=diverging(),
        vmin=-most,
        vmax=most,
        interpolation="nearest",
    )
    step = -(-len(names) // _MOST_LABELS)
    labels = [plain(name) for name in names[::step]]
    axes.set_yticks(range(0, len(names), step), labels, fontsize=8)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=12)
    bar.set_label("value", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=8, colors=INK)
    bar.outline.set_visible(False)


def _draw_sums(axes: "Axes", sums: np.ndarray) -> None:
    colors = np.where(sums > 0, RAISES, LOWERS)
    axes.bar(np.arange(len(sums)), sums, width=0.9, color=colors)
    axes.axhline(0, color=FAINT, linewidth=0.8)
    axes.set_ylabel("value of\nthe step", fontsize=9, color=INK)
    axes.set_xlim(-0.5, len(sums) - 0.5)
