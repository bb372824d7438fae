"""When to stop if every label is wanted for training?

With 250 labelled digits, holding out a fifth to stop by costs a fifth of the labels.
`EvidenceBasedEarlyStopping` stops by the gradients of the training data alone, when
their mean is within its sampling error, and so trains on all rows. It is compared with
Keras's `EarlyStopping` on a fifth that is held out, and with no stop at all.

Run: `python examples/stop_without_validation.py [--quick] [--seeds 8]`

Prints a table and a verdict, and draws `stop_without_validation.png`.
"""

import argparse

import keras
import numpy as np

import keras_ext as kx

KERAS, OURS, NONE = "held-out fifth", "by evidence", "no stop"


def load_digits(seed):
    """250 images to train, and 1,547 to test."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(y))
    x, y = x[order].astype("float32") / 16, y[order]
    return (x[:250], y[:250]), (x[250:], y[250:])


def run(way, seed, epochs):
    """Returns test loss, accuracy and epochs of a training, and the stopper."""
    train, test = load_digits(seed)
    keras.utils.set_random_seed(seed)
    hidden = keras.layers.Dense(128, "relu")
    model = keras.Sequential([keras.Input((64,)), hidden, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
    stop, options = None, {}
    if way == KERAS:
        stop = keras.callbacks.EarlyStopping(patience=5, restore_best_weights=True)
        options["validation_split"] = 0.2
    elif way == OURS:
        stop = kx.callbacks.EvidenceBasedEarlyStopping(verbose=0)
    options |= {"epochs": epochs, "callbacks": [stop] if stop else [], "verbose": 0}
    history = model.fit(*train, batch_size=16, **options)
    found = model.evaluate(*test, verbose=0, return_dict=True)
    return (found["loss"], 100 * found["accuracy"], len(history.epoch)), stop


def verdict(found):
    """In words, from the test losses of the same seeds."""
    from scipy.stats import t

    ours, other = (np.array(found[way])[:, 0] for way in (OURS, KERAS))
    change = 100 * (ours / other - 1)
    if len(change) == 1:
        return f"Test loss {change[0]:+.0f} % by evidence; one seed tells nothing."
    error = np.std(change, ddof=1) / len(change) ** 0.5
    mean, half = change.mean(), t.ppf(0.975, len(change) - 1) * error
    seen = "better" if mean < -half else "worse" if mean > half else "not told apart"
    told = f"test loss {mean:+.0f} ± {half:.0f} %"
    return f"All rows, stopped by evidence, to four fifths: {seen} ({told})."


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run for CI")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=100)
    options = parser.parse_args()
    seeds, epochs = (1, 5) if options.quick else (options.seeds, options.epochs)
    found, stopper = {}, None
    for way in (NONE, KERAS, OURS):
        for seed in range(seeds):
            row, stop = run(way, seed, epochs)
            found.setdefault(way, []).append(row)
            if way == OURS and seed == 0:
                stopper = stop
    print("                test loss   test accuracy, %   epochs")
    for way, rows in found.items():
        loss, right, ended = np.mean(rows, axis=0)
        print(f"{way:15} {loss:9.3f} {right:16.1f} {ended:12.0f}")
    print(verdict(found))
    stopper.plot().savefig("stop_without_validation.png", dpi=110)
    print("What it saw in the first seed is in stop_without_validation.png.")


if __name__ == "__main__":
    main()
