"""A batch that grows while training: the same accuracy from fewer updates?

A perceptron learns handwritten digits with SGD, at batch 32 throughout, at batch 256
throughout, and with `DynamicBatchSize`, which measures the noise of the gradient and
doubles the batch when it has grown to twice that, by larger batches from
`DynamicBatches`. The learning rate is scaled with the batch in the same way for all.

Run: `python examples/growing_batches.py [--quick] [--seeds 5] [--epochs 20]`

Prints a table and a verdict, and draws `growing_batches.png`.
"""

import argparse
import time

import keras
import numpy as np

import keras_ext as kx

RATE, SMALL, LARGE = 0.05, 32, 256


def load_digits():
    """1,200 images of 8 x 8 pixels to train, and 597 to test."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = x[order].astype("float32") / 16, y[order]
    return (x[:1200], y[:1200]), (x[1200:], y[1200:])


def run(way, data, seed, epochs):
    """Returns accuracy, updates and seconds of a training, and its history."""
    (x, y), test = data
    keras.utils.set_random_seed(seed)
    hidden = [keras.layers.Dense(128, "relu"), keras.layers.Dense(64, "relu")]
    model = keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10)])
    size = LARGE if way == f"batch {LARGE}" else SMALL
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    rate = RATE * (size / SMALL) ** 0.5
    model.compile(keras.optimizers.SGD(rate, momentum=0.9), loss, metrics=["accuracy"])
    limits = {"batch_size": size, "max_batch_size": LARGE}
    batches = kx.data.DynamicBatches(x, y, seed=seed, **limits)
    callbacks = []
    if way == "growing":
        options = {"mode": "rebatch", "data": batches, "learning_rate_scaling": "sqrt"}
        grow = kx.callbacks.DynamicBatchSize("noise_scale", **limits, **options)
        callbacks.append(grow)
    begin = time.perf_counter()
    options = {"epochs": epochs, "callbacks": callbacks, "verbose": 0}
    history = model.fit(batches, validation_data=test, **options)
    seconds = time.perf_counter() - begin
    updates = int(keras.ops.convert_to_numpy(model.optimizer.iterations))
    right = 100 * history.history["val_accuracy"][-1]
    return (right, updates, seconds), history


def verdict(found):
    """In words, from the differences of the same seeds to batch 32."""
    from scipy.stats import t

    ours, small = np.array(found["growing"]), np.array(found[f"batch {SMALL}"])
    gains = ours[:, 0] - small[:, 0]
    share = ours[:, 1].sum() / small[:, 1].sum()
    if len(gains) == 1:
        return (
            f"Growing batches took {share:.0%} of the updates; one seed tells no more."
        )
    error = np.std(gains, ddof=1) / len(gains) ** 0.5
    half = t.ppf(0.975, len(gains) - 1) * error
    seen = "more" if gains.mean() > half else "less" if gains.mean() < -half else "as"
    told = f"{gains.mean():+.1f} ± {half:.1f} points"
    what = (
        "as accurate, as far as these seeds tell"
        if seen == "as"
        else f"{seen} accurate"
    )
    return f"Growing batches are {what} ({told}) from {share:.0%} of the updates."


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run for CI")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    seeds, epochs = (1, 4) if options.quick else (options.seeds, options.epochs)
    data, found, histories = load_digits(), {}, {}
    for way in (f"batch {SMALL}", f"batch {LARGE}", "growing"):
        for seed in range(seeds):
            row, history = run(way, data, seed, epochs)
            found.setdefault(way, []).append(row)
            histories.setdefault(way, history)
    print("            test accuracy, %   updates   seconds")
    for way, rows in found.items():
        right, updates, seconds = np.mean(rows, axis=0)
        print(f"{way:12}{right:16.1f} {updates:9.0f} {seconds:9.1f}")
    print(verdict(found))
    figure = kx.plot_history(histories, include=["^val_", "batch_size"])
    figure.savefig("growing_batches.png", dpi=110)
    print("The first seed is in growing_batches.png.")


if __name__ == "__main__":
    main()
