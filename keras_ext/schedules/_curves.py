"""Pictures of values by update."""

from collections.abc import Callable, Mapping

import numpy as np
from keras import ops

from keras_ext._core._figures import new_figure, plain
from keras_ext._core._typing import Figure, Tensor

# As many as a picture can show.
_MOST_POINTS = 300


def draw(curves: Mapping[str, Callable[[int], float | Tensor]], steps: int) -> Figure:
    """Returns a figure of learning rates.

    Args:
        curves: Functions of the number of updates, by their names; "" for none.
        steps: How many updates to show.
    """
    shown = np.unique(np.linspace(0, steps - 1, _MOST_POINTS).astype("int64"))
    figure, axes = new_figure(extra="telemetry", size=(7, 3.5))
    for name, curve in curves.items():
        # One by one, since some schedules can do no other.
        rates = [float(ops.convert_to_numpy(curve(int(step)))) for step in shown]
        axes.plot(shown, rates, label=plain(name) or None)
    axes.set(xlabel="update", ylabel="learning rate", ylim=(0, None))
    if any(curves):
        axes.legend()
    return figure
