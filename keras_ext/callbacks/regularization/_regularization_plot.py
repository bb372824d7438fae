"""The picture of an `AdaptiveRegularization`."""

from collections.abc import Sequence

from keras_ext._core._figures import new_figure, plain
from keras_ext._core._typing import Figure, Record


def draw(decisions: Sequence[Record]) -> Figure:
    """Returns a figure of what was sensed, and of what was changed."""
    figure, (losses, gaps, values) = new_figure(
        3, extra="telemetry", size=(7, 7), sharex=True
    )
    epochs = [row["epoch"] + 1 for row in decisions]
    # Those of different members of a population are no line.
    style = "." if "member" in decisions[0] else "-"
    for kind in ("training", "validation"):
        measured = [row[f"{kind}_loss"] for row in decisions]
        losses.plot(epochs, measured, style, label=kind)
    losses.set(title="Loss, without penalties", yscale="log")
    losses.legend(fontsize="small")
    gaps.plot(epochs, [row["gap"] for row in decisions], style, label="gap")
    gaps.plot(epochs, [row["strength"] for row in decisions], style, label="strength")
    gaps.set(title="Gap, and strength of regularization")
    gaps.legend(fontsize="small")
    for path in decisions[0]["values"]:
        found = [row["values"][path] for row in decisions]
        values.plot(epochs, found, style, label=plain(path))
    # What is 0 has a place, too.
    values.set_yscale("symlog", linthresh=1e-6)
    values.set(title="Hyperparameters", xlabel="epoch")
    values.legend(fontsize="small")
    for axes in (losses, gaps, values):
        axes.spines[["top", "right"]].set_visible(False)
    return figure
