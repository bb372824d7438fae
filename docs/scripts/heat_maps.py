"""Draws the two gradient heat maps of the first page.

Run: `python docs/scripts/heat_maps.py [FOLDER]`

Writes `gradients.png` into the folder, by default that of the pictures of the
documentation. `docs/scripts/guide_pictures.py` makes those of the guide on dead starts.
"""

import sys
from pathlib import Path

import keras
import numpy as np
from matplotlib import pyplot
from sklearn.datasets import load_digits

import keras_ext as kx

IMAGES = Path(__file__).parents[1] / "pages" / "images"


def train(*callbacks):
    """A perceptron of 20 layers at a learning rate that is ten times too high."""
    x, y = load_digits(return_X_y=True)
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(32, "relu", name=f"hidden_{i}") for i in range(20)]
    model = keras.Sequential(
        [keras.Input((64,)), *hidden, keras.layers.Dense(10, name="head")]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss, metrics=["accuracy"])
    monitor = kx.callbacks.GradientMonitor(every=5)
    history = model.fit(
        x / 16, y, epochs=20, verbose=0, callbacks=[*callbacks, monitor]
    ).history
    return monitor, history


def draw(monitors, path):
    """Both maps beside each other, in one scale of colors, without axes of names."""
    figure, axes = pyplot.subplots(
        1, 2, figsize=(11, 3.2), layout="constrained", sharey=True
    )
    for axis, (monitor, accuracy), name in zip(
        axes, monitors, ("plain", "LayerwiseAdaptiveClipping"), strict=True
    ):
        norms = monitor.history["per_layer"]["gradient_norm"].T
        with np.errstate(divide="ignore"):
            logs = np.ma.masked_invalid(np.log10(norms))
        updates = monitor.history["update"]
        map_ = axis.pcolormesh(
            updates, range(len(logs)), logs, vmin=-5, vmax=1, shading="nearest"
        )
        axis.set_title(f"{name}: accuracy {100 * accuracy:.0f} %")
        axis.set_xlabel("update")
        axis.set_yticks([0, len(logs) - 1], ["first layer", "last layer"])
    axes[0].invert_yaxis()
    axes[0].text(
        0.55, 0.5, "no gradient arrives", transform=axes[0].transAxes, ha="center"
    )
    figure.colorbar(map_, ax=axes, label="log10 of the gradient norm")
    figure.savefig(path, dpi=130)


def main():
    pyplot.switch_backend("agg")
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    monitors = []
    clip = kx.callbacks.LayerwiseAdaptiveClipping(clipping=0.01, exclude_head=True)
    for callbacks in ([], [clip]):
        monitor, history = train(*callbacks)
        monitors.append((monitor, history["accuracy"][-1]))
        print(f"accuracy {history['accuracy'][-1]:.2f}")
        print(kx.diagnostics.diagnose(monitor))
    draw(monitors, folder / "gradients.png")


if __name__ == "__main__":
    main()
