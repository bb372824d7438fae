"""Does sharpness-aware minimization help where labels are wrong, and where not?

A perceptron (196-128-128-10, Adam 1e-3, batches of 64, 20 epochs) on 2,000 images of
MNIST, averaged to 14 x 14, drawn at random from the first 7,000 of the test images;
tested on the last 2,000. So many labels, 40 % unless told, are drawn anew, uniformly.

Compared are the plain training, the same with label smoothing, the plain one stopped
after 3 epochs, and `keras_ext.training.SharpnessAware` with several lengths, adaptive
and not. All see the same images, wrong labels, first weights and batches for a seed.

Printed per variant: test accuracy after the last epoch in percent, how much it is above
that of the plain training of the same seed, both with 95 % confidence intervals, the
best accuracy of any epoch, chosen with hindsight, and the time in units of the plain
one, for what it is worth on a machine that does other things, too.

Run: `python benchmarks/studies/sharpness_aware.py --data mnist10k DIR [--seeds 5]
[--noise 0.4] [--epochs 20] [--only "plain,rho 0.5"] [--json FILE]`, where DIR has the
IDX files of the test images, gzipped.
"""

import argparse
import json
import time
from pathlib import Path

import keras
import numpy as np

from benchmarks._data import mnist10k
from benchmarks._intervals import mean_and_interval
from keras_ext.training import SharpnessAware

VARIANTS = {
    "plain": {},
    "3 epochs": {"epochs": 3},
    "label smoothing 0.1": {"smoothing": 0.1},
    "rho 0.05": {"rho": 0.05},
    "rho 0.2": {"rho": 0.2},
    "rho 0.5": {"rho": 0.5},
    "adaptive, rho 0.5": {"rho": 0.5, "adaptive": True},
    "adaptive, rho 2": {"rho": 2.0, "adaptive": True},
}


def load(folder):
    x, y = mnist10k(folder, (28, 28))
    return x.reshape(-1, 14, 2, 14, 2).mean((2, 4)).reshape(-1, 196), y


def draw(x, y, noise, seed):
    """Images to train on, with labels of which some are drawn anew."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(7000)[:2000]
    labels = y[rows].astype("int64")
    again = rng.random(2000) < noise
    labels[again] = rng.integers(0, 10, again.sum())
    return x[rows], keras.utils.to_categorical(labels, 10)


def make_model(smoothing):
    layers = [keras.layers.Dense(128, "relu") for _ in range(2)]
    model = keras.Sequential([keras.Input((196,)), *layers, keras.layers.Dense(10)])
    loss = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=smoothing
    )
    accuracy = keras.metrics.CategoricalAccuracy("accuracy")
    model.compile(
        keras.optimizers.Adam(1e-3), loss, metrics=[accuracy], jit_compile=False
    )
    return model


def train(x, y, seed, options, *, smoothing=0.0, epochs=None, **sam):
    keras.utils.set_random_seed(seed)
    model = make_model(smoothing)
    x_train, y_train = draw(x, y, options.noise, seed)
    began = time.perf_counter()
    history = model.fit(
        x_train,
        y_train,
        batch_size=64,
        epochs=epochs or options.epochs,
        validation_data=(x[-2000:], keras.utils.to_categorical(y[-2000:], 10)),
        validation_batch_size=2000,
        callbacks=[SharpnessAware(**sam)] if sam else [],
        verbose=0,
    ).history
    accuracies = [100 * a for a in history["val_accuracy"]]
    return {
        "seed": seed,
        "accuracy": accuracies[-1],
        "best": max(accuracies),
        "seconds": time.perf_counter() - began,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs=2, metavar=("mnist10k", "DIR"), required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--noise", type=float, default=0.4)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--only")
    parser.add_argument("--json", default="sharpness_aware.json")
    options = parser.parse_args()
    x, y = load(options.data[1])
    chosen = options.only.split(",") if options.only else VARIANTS
    runs = {name: [] for name in chosen}
    for seed in range(options.seeds):
        for name in chosen:
            runs[name].append(train(x, y, seed, options, **VARIANTS[name]))
    print(f"{'variant':22}{'accuracy':>14}{'gain':>14}{'best':>7}{'time':>6}")
    plain = runs["plain"]
    for name, rows in runs.items():
        accuracy, best, seconds = (
            np.array([r[key] for r in rows]) for key in ("accuracy", "best", "seconds")
        )
        gain = accuracy - [r["accuracy"] for r in plain]
        times = np.median(seconds / [r["seconds"] for r in plain])
        print(
            f"{name:22}{mean_and_interval(accuracy, 1):>14}"
            f"{mean_and_interval(gain, 1):>14}{best.mean():>7.1f}{times:>6.1f}"
        )
    Path(options.json).write_text(json.dumps(runs, indent=1))


if __name__ == "__main__":
    main()
