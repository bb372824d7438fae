"""A training that does not start: see it, name it, fix it.

Eight layers of sigmoids do not learn the digits of scikit-learn. `GradientMonitor`
draws what the gradients of each layer do, `diagnose` says in words what is wrong and
what to try, and the second training does that. Its picture is beside the first.

Run: `python examples/gradient_monitor.py [--quick] [--epochs 10]`

Prints both diagnoses and the verdict, and draws `gradient_monitor.png`.
"""

import argparse

import keras
import numpy as np

import keras_ext as kx


def load_digits():
    """1,200 images of 8 x 8 pixels to train, and 597 to test."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = x[order].astype("float32") / 16, y[order]
    return (x[:1200], y[:1200]), (x[1200:], y[1200:])


def train(activation, initializer, data, epochs):
    """Returns the monitor of a training, and the test accuracy in percent."""
    keras.utils.set_random_seed(0)
    hidden = [
        keras.layers.Dense(32, activation, kernel_initializer=initializer, name=f"d{i}")
        for i in range(8)
    ]
    model = keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss, metrics=["accuracy"])
    monitor = kx.callbacks.GradientMonitor(every=10)
    model.fit(*data[0], epochs=epochs, callbacks=[monitor], verbose=0)
    found = model.evaluate(*data[1], verbose=0, return_dict=True)
    return monitor, 100 * found["accuracy"]


def heat_map(axes, monitor, title):
    """Draws the gradient norm of each layer over the updates."""
    record = monitor.history
    norms = np.log10(np.maximum(record["per_layer"]["gradient_norm"].T, 1e-12))
    shown = axes.imshow(norms, aspect="auto", vmin=-8, vmax=1, cmap="magma")
    axes.set(title=title, xlabel="row of the record", ylabel="layer, the first on top")
    return shown


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run for CI")
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    epochs = 3 if options.quick else options.epochs
    data = load_digits()

    before, ill = train("sigmoid", "glorot_uniform", data, epochs)
    print("Sigmoids:", kx.diagnostics.diagnose(before), sep="\n")
    after, well = train("relu", "he_normal", data, epochs)
    print("ReLU and He's initialization:", kx.diagnostics.diagnose(after), sep="\n")
    print(f"Test accuracy {ill:.0f} % before, {well:.0f} % after, 10 % by guessing.")

    from matplotlib.figure import Figure

    figure = Figure((11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    heat_map(left, before, f"sigmoids: {ill:.0f} % right")
    shown = heat_map(right, after, f"ReLU: {well:.0f} % right")
    figure.colorbar(shown, label="gradient norm, base 10 logarithm")
    figure.savefig("gradient_monitor.png", dpi=110)
    print("The heat maps are in gradient_monitor.png.")


if __name__ == "__main__":
    main()
