"""Do four callbacks that sense, decide and act help an ordinary training?

The same network is trained on handwritten digits twice, plain and with the four
callbacks, for several seeds. Expect about the same test accuracy from far fewer updates
of the weights: the batch grows while training. The table says what came out, also when
a callback does not help.

Run: `python examples/quickstart.py [--quick] [--seeds 5] [--data mnist10k DIR]`

Prints the table and writes the curves to `quickstart.png`. The data are the digits
that come with scikit-learn, or with `--data mnist10k DIR` the 10,000 test images of
MNIST, in the IDX files in DIR.
"""

import argparse
import gzip
import statistics
import time
from pathlib import Path

import keras
import numpy as np

import keras_ext as kx

BATCH_SIZE = 32


def load_digits():
    """1,797 images of 8 x 8 pixels: 1,200 to train, 250 to validate, 347 to test."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    x, y = digits.data[order] / 16.0, digits.target[order]
    return split(x.astype("float32"), y, (1200, 1450))


def load_mnist10k(folder):
    """10,000 images of 28 x 28 pixels: 7,000 to train, 1,000 to validate, 2,000."""
    x = read_idx(next(Path(folder).glob("*images*")))
    y = read_idx(next(Path(folder).glob("*labels*")))
    x = x.reshape(len(x), -1).astype("float32") / 255.0
    return split(x, y.astype("int64"), (7000, 8000))


def read_idx(path):
    """Reads a gzipped IDX file: four bytes of type, the shape, the values."""
    raw = gzip.decompress(Path(path).read_bytes())
    ndim = raw[3]
    shape = np.frombuffer(raw, ">u4", ndim, offset=4)
    return np.frombuffer(raw, "u1", offset=4 + 4 * ndim).reshape(shape)


def split(x, y, places):
    return list(zip(np.split(x, places), np.split(y, places), strict=True))


def make_model(num_pixels):
    model = keras.Sequential(
        [
            keras.Input((num_pixels,)),
            keras.layers.Dense(128, "relu"),
            keras.layers.Dropout(0.1),
            keras.layers.Dense(64, "relu"),
            keras.layers.Dropout(0.1),
            keras.layers.Dense(10, name="head"),
        ]
    )
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def four_callbacks(train, validation):
    return [
        kx.callbacks.LayerwiseAdaptiveClipping(clipping=0.05, exclude="head"),
        kx.callbacks.AdaptiveDropout(train, validation, target_gap=0.5),
        kx.callbacks.DynamicBatchSize(
            "noise_scale", batch_size=BATCH_SIZE, max_batch_size=256
        ),
        kx.callbacks.GradientNormEarlyStopping(threshold=0.25),
    ]


def measure_gap(train, validation):
    """For the plain run: a callback that only measures the gap."""
    gap = kx.signals.OverfitGap()
    probes = [
        kx.signals.LossProbe(data, max_rows=len(validation[0]))
        for data in (train, validation)
    ]

    class MeasureGap(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["overfit_gap"] = gap.update(*(p.measure(self.model) for p in probes))

    return MeasureGap()


def run(data, with_callbacks, seed, epochs):
    """Trains once; returns the curves and the numbers of the table."""
    train, validation, test = data
    keras.utils.set_random_seed(seed)
    model = make_model(train[0].shape[1])
    if with_callbacks:
        callbacks = four_callbacks(train, validation)
    else:
        callbacks = [measure_gap(train, validation)]
    start = time.perf_counter()
    history = model.fit(
        *train,
        batch_size=BATCH_SIZE,
        epochs=epochs,
        validation_data=validation,
        callbacks=callbacks,
        verbose=0,
    )
    seconds = time.perf_counter() - start
    return history.history, {
        "test accuracy": 100
        * model.evaluate(*test, verbose=0, return_dict=True)["accuracy"],
        "epochs": len(history.epoch),
        "updates": int(keras.ops.convert_to_numpy(model.optimizer.iterations)),
        "seconds": seconds,
    }


def train_all(data, seeds, epochs):
    """Returns, for plain and for four callbacks, the runs of every seed."""
    from rich.progress import track

    runs = {"plain": [], "four callbacks": []}
    for seed in track(range(seeds), description="training"):
        for name, collected in runs.items():
            collected.append(run(data, name != "plain", seed, epochs))
    return runs


def print_table(runs):
    from rich.table import Table

    table = Table()
    columns = list(runs["plain"][0][1])
    for column in ("", *columns):
        table.add_column(column, justify="right")
    for name, collected in runs.items():
        cells = []
        for column in columns:
            values = [numbers[column] for _, numbers in collected]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{statistics.mean(values):.1f} ± {spread:.1f}")
        table.add_row(name, *cells)
    from rich.console import Console

    Console(width=100).print(table)


def draw(runs, path):
    """Draws the curves of every seed: plain in gray, with the callbacks in color."""
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    panels = {
        "val_loss": "validation loss",
        "overfit_gap": "overfitting gap",
        "dropout_rate": "dropout rate",
        "mean_gradient_norm": "gradient norm",
        "batch_size": "batch size",
    }
    figure, axes = pyplot.subplots(
        1, len(panels), figsize=(18, 3.4), layout="constrained"
    )
    for axis, (key, title) in zip(axes, panels.items(), strict=True):
        axis.set_title(title)
        axis.set_xlabel("epoch")
        for name, color in (("plain", "0.6"), ("four callbacks", "tab:blue")):
            for i, (curves, _) in enumerate(runs[name]):
                values = curves.get(key, [])
                epochs = range(1, len(values) + 1)
                label = name if i == 0 and values else None
                axis.plot(epochs, values, color=color, alpha=0.7, label=label)
    axes[0].legend()
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run for CI")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--data", nargs=2, metavar=("NAME", "DIR"))
    options = parser.parse_args()
    if options.data and options.data[0] != "mnist10k":
        parser.error(f"--data must be 'mnist10k DIR'. Received: {options.data[0]}")

    data = load_mnist10k(options.data[1]) if options.data else load_digits()
    seeds, epochs = (1, 4) if options.quick else (options.seeds, options.epochs)
    runs = train_all(data, seeds, epochs)
    print_table(runs)
    draw(runs, "quickstart.png")
    print("The curves are in quickstart.png.")


if __name__ == "__main__":
    main()
