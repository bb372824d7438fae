"""The picture of an `AdaptiveRegularization`."""

from collections.abc import Sequence

from keras_ext._core._figures import new_figure, plain
from keras_ext._core._typing import Figure, Record


def draw(decisions: Sequence[Record]) -> Figure:
    """Returns a figure of what was sensed, and of what was changed."""
    figure, (losses, gaps, values) = new_figure(
        3, extra="examples", size=(9, 9), sharex=True
    )
    epochs = [row["epoch"] for row in decisions]
    # Those of different members of a population are no line.
    style = "." if "member" in decisions[0] else "-"
    for name in ("training_loss", "validation_loss"):
        losses.plot(epochs, [row[name] for row in decisions], style, label=name)
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
    values.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
