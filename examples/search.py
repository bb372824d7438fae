"""Searching for a network that reads digits, and stopping what promises nothing.

`BOHB` proposes depth, width, dropout and the optimizer of a network for the digits of
scikit-learn, and stops trainings inside `fit`. The table says how far each trial came,
the figure shows the curves of all, also of those that were stopped. Interrupt it and
start it again: it goes on with the next epoch.

Run: `python examples/search.py [--quick]`

Prints the trials, best first, and writes `search.png` and the folder `search`.
"""

import argparse

import keras
import numpy as np

import keras_ext as kx


def load():
    """Images of 8 x 8 pixels, and the digits, to train with and to judge by."""
    from sklearn import datasets

    data = datasets.load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    x, y = data.data[order].astype("float32") / 16, data.target[order]
    return (x[:-600], y[:-600]), (x[-600:], y[-600:])


def build(hp):
    model = keras.Sequential([keras.Input((64,))])
    for _ in range(hp.Int("depth", 1, 3)):
        model.add(keras.layers.Dense(hp.Int("width", 8, 128, sampling="log"), "relu"))
        model.add(keras.layers.Dropout(hp.Float("dropout", 0.0, 0.5)))
    model.add(keras.layers.Dense(10, "softmax"))
    rate = hp.Float("learning_rate", 1e-4, 0.3, sampling="log")
    kind = hp.Choice("optimizer", ["sgd", "adam"])
    if kind == "adam":
        optimizer = keras.optimizers.Adam(rate)
    else:
        with hp.conditional_scope("optimizer", ["sgd"]):
            momentum = hp.Float("momentum", 0.0, 0.99)
        optimizer = keras.optimizers.SGD(rate, momentum)
    loss = "sparse_categorical_crossentropy"
    model.compile(optimizer, loss, metrics=["accuracy"])
    return model


def curve(trial):
    if not trial.metrics.exists("val_accuracy"):
        return []  # it has failed: `trial.message` says why
    return [seen.mean() for seen in trial.metrics.get_history("val_accuracy")]


def show(oracle, max_epochs):
    """Prints a line for each trial; epochs that were not trained are the gain."""
    trials = oracle.get_best_trials(len(oracle.trials))
    print("accuracy  epochs  configuration")
    for trial in trials:
        values = trial.hyperparameters.values.items()
        told = (
            f"{n}={v:.3g}" if isinstance(v, float) else f"{n}={v}" for n, v in values
        )
        print(f"{trial.score or 0:8.3f}  {len(curve(trial)):6d}  {', '.join(told)}")
    trained = sum(len(curve(trial)) for trial in trials)
    print(f"{trained} epochs instead of {max_epochs * len(trials)}")


def draw(oracle, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4))
    best = oracle.get_best_trials()[0]
    for trial in oracle.trials.values():
        is_best = trial is best
        values = curve(trial)
        axes.plot(
            range(1, len(values) + 1),
            values,
            "o-" if len(values) == 1 else "-",
            color="C1" if is_best else "C0",
            alpha=1 if is_best else 0.4,
            zorder=2 + is_best,
            markersize=3,
        )
    axes.set(xlabel="epoch", ylabel="accuracy on data that is held out", ylim=(0, 1))
    axes.set_title("The best trial, and all that were stopped on the way")
    figure.savefig(path, dpi=120, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run for CI")
    quick = parser.parse_args().quick
    trials, max_epochs = (3, 9) if quick else (30, 27)
    (x, y), held_out = load()
    search = kx.tuner.BOHB(
        build,
        "val_accuracy",
        trials,
        max_epochs=max_epochs,
        seed=0,
        directory="search",
        project_name="quick" if quick else "digits",
        overwrite=quick,
    )
    search.oracle.enqueue({"optimizer": "adam", "learning_rate": 1e-3, "width": 64})
    search.search(x, y, validation_data=held_out, verbose=0)
    show(search.oracle, max_epochs)
    draw(search.oracle, "search.png")
    print("Wrote search.png")


if __name__ == "__main__":
    main()
