"""The picture of a `GradientMonitor`."""

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
    figure, (upper, lower) = new_figure(2, extra=_EXTRA, size=(9, 7), sharex=True)
    updates = history["update"]
    layers = [plain(layer) for layer in history["layers"]]
    _draw_norms(figure, upper, history)
    ratios = history["per_layer"]["update_ratio"]
    viridis = import_extra("matplotlib", _EXTRA).colormaps["viridis"]
    colors = viridis(np.linspace(0, 0.9, max(len(layers), 1)))
    for i, layer in enumerate(layers):
        values = np.where(ratios[:, i] > 0, ratios[:, i], np.nan)
        lower.plot(updates, values, color=colors[i], label=layer, linewidth=1)
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
    lower.set(xlabel="update", ylabel="update / weight", title="Update ratio")
    if len(layers) <= _MOST_LABELS:
        lower.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _draw_norms(figure: Figure, axes: "Axes", history: Record) -> None:
    updates = history["update"]
    layers = [plain(layer) for layer in history["layers"]]
    norms = history["per_layer"]["gradient_norm"]
    axes.set(ylabel="layer", title="Gradient norm (white: zero or not finite)")
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
