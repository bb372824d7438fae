"""The picture of a `GradientMonitor`."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_ext._core._extras import import_extra
from keras_ext._core._figures import new_figure, plain
from keras_ext._core._typing import Figure, Record
from keras_ext.diagnostics._diagnose import HEALTHY_UPDATE_RATIO

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_EXTRA = "telemetry"
_MOST_LABELS = 25


def draw(history: Record) -> Figure:
    """Returns a figure of the history of a monitor."""
    figure, (upper, lower) = new_figure(2, extra=_EXTRA, size=(7, 5.5), sharex=True)
    updates = history["update"]
    layers = _short(history["layers"])
    _draw_norms(figure, upper, history)
    ratios = history["per_layer"]["update_ratio"]
    viridis = import_extra("matplotlib", _EXTRA).colormaps["viridis"]
    colors = viridis(np.linspace(0, 0.9, max(len(layers), 1)))
    for i, layer in enumerate(layers):
        values = np.where(ratios[:, i] > 0, ratios[:, i], np.nan)
        label = layer if i in (0, len(layers) - 1) else None
        lower.plot(updates, values, color=colors[i], label=label, linewidth=1)
    lower.plot(updates, history["global"]["update_ratio"], "k", label="all layers")
    lower.axhline(HEALTHY_UPDATE_RATIO, color="k", linestyle="--", linewidth=1)
    lower.annotate(
        f"{HEALTHY_UPDATE_RATIO:g}",
        (1, HEALTHY_UPDATE_RATIO),
        xycoords=("axes fraction", "data"),
        va="bottom",
        ha="right",
    )
    lower.set_yscale("log")
    lower.set(xlabel="update", ylabel="update / weight")
    lower.set_title("Update ratio", loc="left", fontsize=10)
    # Above the lines, which may be anywhere.
    place = {"loc": "lower right", "bbox_to_anchor": (1, 0.98), "ncols": 3}
    lower.legend(fontsize="small", frameon=False, **place)
    return figure


def _short(layers: Sequence[str]) -> list[str]:
    """The names without the models that all of them are in."""
    parts = [layer.split("/") for layer in layers]
    # `commonprefix` takes lists, too, and compares them name by name.
    common = len(os.path.commonprefix([names[:-1] for names in parts]))
    return [plain("/".join(names[common:])) for names in parts]


def _draw_norms(figure: Figure, axes: "Axes", history: Record) -> None:
    updates = history["update"]
    layers = _short(history["layers"])
    norms = history["per_layer"]["gradient_norm"]
    title = "Gradient norm (white: zero or not finite)"
    axes.set_title(title, loc="left", fontsize=10)
    logs = np.log10(np.where(norms > 0, norms, np.nan))
    # Every row is drawn up to the next one.
    starts = [*updates, updates[-1] + np.diff(updates).max(initial=1)]
    image = axes.pcolormesh(
        starts, np.arange(len(layers) + 1) - 0.5, np.ma.masked_invalid(logs).T
    )
    figure.colorbar(image, ax=axes, label="log10 of the norm")
    step = -(-len(layers) // _MOST_LABELS) or 1
    axes.set_yticks(range(0, len(layers), step), layers[::step], fontsize="x-small")
    axes.invert_yaxis()
