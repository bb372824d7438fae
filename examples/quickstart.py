"""Four labels in ten are drawn at random: does one more callback than Keras's own help?

A small network learns handwritten digits, and nobody has clean labels to stop it by:
the validation data are as bad as the training data. It is trained as a good engineer
would, with `EarlyStopping` and `ReduceLROnPlateau`; then with
`keras_ext.training.SharpnessAware` beside them, which looks for weights around which
the loss is flat, as it is not where wrong labels are learnt by heart. Its radius, 0.5,
was found on other data (MNIST) before.

Run: `python examples/quickstart.py [--quick] [--seeds 8]`

Prints a table and the verdict, with the interval of the difference over the seeds, and
writes the curves to `quickstart.png`. The data are the digits that come with scikit-
learn; only the test labels are clean.
"""

import argparse
import time

import keras
import numpy as np

import keras_ext as kx

NOISE, RADIUS = 0.4, 0.5


def load_digits(seed):
    """1,100 images to train and 250 to validate, with wrong labels, and 447 to test."""
    from sklearn.datasets import load_digits

    rng = np.random.default_rng(seed)
    x, y = load_digits(return_X_y=True)
    order = rng.permutation(len(y))
    x, y = x[order].astype("float32") / 16, y[order]
    drawn = rng.random(len(y)) < NOISE
    drawn[1350:] = False
    y = np.where(drawn, rng.integers(0, 10, len(y)), y)
    return (x[:1100], y[:1100]), (x[1100:1350], y[1100:1350]), (x[1350:], y[1350:])


def make_model(seed):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(128, "relu"),
            keras.layers.Dense(128, "relu"),
            keras.layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
    return model


def callbacks_of_keras():
    stop = {"patience": 8, "restore_best_weights": True}
    return [
        keras.callbacks.EarlyStopping("val_loss", **stop),
        keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.3, patience=3),
    ]


class TestAccuracy(keras.callbacks.Callback):
    """What nobody knows while training: how good the model is. It decides nothing."""

    def __init__(self, test):
        super().__init__()
        self.x, self.y = test
        self.values = []

    def on_epoch_end(self, epoch, logs=None):
        found = keras.ops.convert_to_numpy(self.model(self.x)).argmax(axis=1)
        self.values.append(100 * np.mean(found == self.y))


def run(seed, extra, epochs):
    """Trains once; returns the curve of the test accuracy, and what the table has."""
    train, validation, test = load_digits(seed)
    model, watch = make_model(seed), TestAccuracy(test)
    callbacks = [*callbacks_of_keras(), *extra, watch]
    begin = time.perf_counter()
    options = {"validation_data": validation, "epochs": epochs, "verbose": 0}
    model.fit(*train, batch_size=32, callbacks=callbacks, **options)
    seconds = time.perf_counter() - begin
    accuracy = 100 * model.evaluate(*test, verbose=0, return_dict=True)["accuracy"]
    return watch.values, (accuracy, len(watch.values), seconds)


def interval(values):
    """The mean, and half of its 95 % confidence interval, by Student's t."""
    from scipy.stats import t

    if len(values) == 1:
        return values[0], float("inf")
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return float(np.mean(values)), float(half)


def print_table(runs):
    print(f"{'':34} test accuracy, %    epochs   seconds")
    for name, collected in runs.items():
        numbers = np.array([row for _, row in collected])
        accuracy, half = interval(numbers[:, 0])
        _, epochs, seconds = numbers.mean(axis=0)
        print(f"{name:34} {accuracy:8.1f} ± {half:4.1f}   {epochs:9.1f} {seconds:9.1f}")


def verdict(runs):
    """In words, from the differences of the same seeds."""
    plain, ours = ([row for _, row in collected] for collected in runs.values())
    pairs = zip(ours, plain, strict=True)
    gain, half = interval([a[0] - b[0] for a, b in pairs])
    told = f"{gain:+.1f} points, 95 % interval {gain - half:+.1f} to {gain + half:+.1f}"
    cost = sum(row[2] for row in ours) / sum(row[2] for row in plain)
    if abs(gain) <= half:
        return f"{len(ours)} seeds cannot tell the two apart: {told}."
    kind = "more" if gain > 0 else "less"
    return f"SharpnessAware gets {kind} right ({told}), in {cost:.1f} times the time."


def draw(runs, path):
    """The test accuracy of each epoch, every seed."""
    from matplotlib.figure import Figure

    figure = Figure((8, 4), layout="constrained")
    axes = figure.subplots()
    for color, (name, collected) in zip(("0.6", "tab:blue"), runs.items(), strict=True):
        for i, (curve, _) in enumerate(collected):
            epochs = range(1, len(curve) + 1)
            label = name if i == 0 else None
            axes.plot(epochs, curve, color=color, alpha=0.8, label=label)
    title = f"{NOISE:.0%} of the labels drawn at random: accuracy on clean test data, %"
    axes.set(title=title, xlabel="epoch", ylim=(60, 100))
    axes.legend()
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run for CI")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=60)
    options = parser.parse_args()
    seeds, epochs = (2, 4) if options.quick else (options.seeds, options.epochs)
    runs = {"Keras's callbacks": [], "the same, and SharpnessAware": []}
    for seed in range(seeds):
        for name, collected in runs.items():
            ours = [] if name == "Keras's callbacks" else [RADIUS]
            extra = [kx.training.SharpnessAware(radius) for radius in ours]
            collected.append(run(seed, extra, epochs))
    print_table(runs)
    print(verdict(runs))
    draw(runs, "quickstart.png")
    print("The curves are in quickstart.png.")


if __name__ == "__main__":
    main()
