"""Fine-tuning on a few labels: does dropout that adapts do better than a fixed rate?

A convnet learns the digits 0 to 4 of scikit-learn, with all labels. Then it learns 5 to
9 with 100 labels: the new head first, and the body, which `GradualUnfreezing` thaws
later. The dropout before the head stays at its rate, or `AdaptiveDropout` moves it by
the gap between validation and training loss. Both have the same `EarlyStopping`.

Run: `python examples/fine_tuning.py [--quick] [--seeds 8] [--epochs 40]`

Prints a table and a verdict, and draws losses and rates of the first seed in
`fine_tuning.png`.
"""

import argparse

import keras
import numpy as np

import keras_ext as kx

RATES = [0.0, 0.2, 0.5]


def load_digits(seed, few=100):
    """0 to 4; and of 5 to 9 a few to train, 100 to validate, the rest to test."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(y))
    x, y = (x[order].astype("float32") / 16).reshape(-1, 8, 8, 1), y[order]
    old, new = y < 5, y >= 5
    x_new, y_new = x[new], y[new] - 5
    places = (few, few + 100)
    parts = zip(np.split(x_new, places), np.split(y_new, places), strict=True)
    return (x[old], y[old]), *parts


def make_model(rate):
    layers = keras.layers
    body = [
        layers.Conv2D(16, 3, activation="relu", name="body_1"),
        layers.Conv2D(32, 3, activation="relu", name="body_2"),
        layers.Flatten(),
    ]
    head = [layers.Dense(64, "relu"), layers.Dropout(rate), layers.Dense(5)]
    model = keras.Sequential([keras.Input((8, 8, 1)), *body, *head])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
    return model


def pretrained(old, seed, epochs):
    """The weights of the body after training on the other digits."""
    keras.utils.set_random_seed(seed)
    model = make_model(0.2)
    model.fit(*old, epochs=epochs, verbose=0)
    return [model.get_layer(name).get_weights() for name in ("body_1", "body_2")]


def fine_tune(body, parts, seed, epochs, rate=None):
    """Returns test loss and accuracy, and the history; without a rate it adapts."""
    train, validation, test = parts
    keras.utils.set_random_seed(seed)
    model = make_model(0.2 if rate is None else rate)
    for name, weights in zip(("body_1", "body_2"), body, strict=True):
        model.get_layer(name).set_weights(weights)
    callbacks = [
        kx.callbacks.GradualUnfreezing([(5, "body_2"), (10, "body_1")]),
        keras.callbacks.EarlyStopping(patience=8, restore_best_weights=True),
    ]
    if rate is None:
        callbacks.insert(0, kx.callbacks.AdaptiveDropout())
    options = {"validation_data": validation, "callbacks": callbacks, "verbose": 0}
    history = model.fit(*train, batch_size=16, epochs=epochs, **options)
    found = model.evaluate(*test, verbose=0, return_dict=True)
    return (found["loss"], 100 * found["accuracy"]), history


def interval(values):
    """The mean, and half of its 95 % confidence interval, by Student's t."""
    from scipy.stats import t

    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return float(np.mean(values)), float(half)


def verdict(losses):
    """Against the best and the worst fixed rate, the test losses of the same seeds."""
    if len(losses["adaptive"]) == 1:
        return "One seed tells nothing."
    fixed = {name: np.mean(v) for name, v in losses.items() if name != "adaptive"}
    lines = []
    for kind, name in (
        ("best", min(fixed, key=fixed.get)),
        ("worst", max(fixed, key=fixed.get)),
    ):
        change = 100 * (np.array(losses["adaptive"]) / np.array(losses[name]) - 1)
        mean, half = interval(change)
        seen = "no difference that these seeds could tell"
        if abs(mean) > half:
            seen = "better" if mean < 0 else "worse"
        lines.append(
            f"To the {kind} ({name}): test loss {mean:+.0f} ± {half:.0f} %, {seen}."
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run for CI")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=40)
    options = parser.parse_args()
    seeds, epochs = (1, 12) if options.quick else (options.seeds, options.epochs)
    rates = RATES[1:2] if options.quick else RATES
    found, histories = {}, {}
    for seed in range(seeds):
        old, *parts = load_digits(seed)
        body = pretrained(old, seed, 3 if options.quick else 10)
        for rate in (*rates, None):
            name = "adaptive" if rate is None else f"fixed {rate:g}"
            row, history = fine_tune(body, parts, seed, epochs, rate)
            found.setdefault(name, []).append(row)
            histories.setdefault(name, history)
    print("dropout       test loss   test accuracy, %")
    for name, rows in found.items():
        loss, right = np.mean(rows, axis=0)
        print(f"{name:12} {loss:10.3f} {right:12.1f}")
    print(verdict({name: [loss for loss, _ in rows] for name, rows in found.items()}))
    shown = ["^loss", "^val_loss", "dropout_rate"]
    kx.plot_history(histories, include=shown).savefig("fine_tuning.png", dpi=110)
    print("The first seed is in fine_tuning.png.")


if __name__ == "__main__":
    main()
