"""A deep network, one more callback: with how many learning rates does it train?

Twenty hidden layers without normalization are trained on handwritten digits by SGD with
momentum, with the learning rates of a grid: as they are, with Keras's `clipnorm` at its
usual 1.0, and with `LayerwiseAdaptiveClipping`, which is only given to `fit`. The loop,
`compile` and the model stay as they are.

Run: `python examples/adaptive_clipping.py [--quick] [--seeds 3] [--epochs 10]`

Prints the test accuracy of every rate and a verdict, and draws `adaptive_clipping.png`.
"""

import argparse

import keras
import numpy as np

import keras_ext as kx

RATES = [0.003, 0.01, 0.03, 0.1, 0.3]
WAYS = ("plain", "clipnorm=1.0", "LayerwiseAdaptiveClipping")


def load_digits():
    """1,200 images of 8 x 8 pixels to train, and 597 to test."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = x[order].astype("float32") / 16, y[order]
    return (x[:1200], y[:1200]), (x[1200:], y[1200:])


def accuracy(way, rate, seed, epochs, data):
    """The test accuracy in percent, after one training; that of guessing is 10."""
    keras.utils.set_random_seed(seed)
    options = {"activation": "relu", "kernel_initializer": "he_normal"}
    hidden = [keras.layers.Dense(64, **options) for _ in range(20)]
    model = keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10)])
    clipnorm = 1.0 if way == "clipnorm=1.0" else None
    model.compile(
        keras.optimizers.SGD(rate, momentum=0.9, clipnorm=clipnorm),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    callbacks = []
    if way == "LayerwiseAdaptiveClipping":
        callbacks.append(kx.callbacks.LayerwiseAdaptiveClipping(exclude_head=True))
    train, test = data
    model.fit(*train, batch_size=32, epochs=epochs, callbacks=callbacks, verbose=0)
    return 100 * model.evaluate(*test, verbose=0, return_dict=True)["accuracy"]


def verdict(found, rates):
    """With how many rates the median training is within 5 points of the best."""
    best = max(np.median(found[way], axis=1).max() for way in WAYS)
    good = {w: int(np.sum(np.median(found[w], axis=1) > best - 5)) for w in WAYS}
    words = ", ".join(f"{count} {name}" for name, count in good.items())
    start = f"Of {len(rates)} learning rates within 5 points of the best"
    return f"{start} accuracy, {best:.0f} %: {words}."


def draw(found, rates, path):
    """The median and all seeds over the rates."""
    from matplotlib.figure import Figure

    figure = Figure((7, 4), layout="constrained")
    axes = figure.subplots()
    for i, way in enumerate(WAYS):
        axes.plot(rates, np.median(found[way], axis=1), color=f"C{i}", label=way)
        axes.plot(rates, found[way], ".", color=f"C{i}")
    axes.set(
        xscale="log", xlabel="learning rate", title="test accuracy, %, of 20 layers"
    )
    axes.legend()
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run for CI")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    seeds, epochs = (1, 2) if options.quick else (options.seeds, options.epochs)
    rates = RATES[3:4] if options.quick else RATES
    data = load_digits()
    found = {
        way: [[accuracy(way, r, s, epochs, data) for s in range(seeds)] for r in rates]
        for way in WAYS
    }
    print(f"{'learning rate':26}" + "".join(f"{rate:8g}" for rate in rates))
    for way, rows in found.items():
        print(f"{way:26}" + "".join(f"{np.median(row):8.1f}" for row in rows))
    print(verdict(found, rates))
    draw(found, rates, "adaptive_clipping.png")
    print("The picture is in adaptive_clipping.png.")


if __name__ == "__main__":
    main()
