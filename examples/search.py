"""Searching for a network that reads digits, and stopping what promises nothing.

`BOHB` proposes depth, width, dropout and the optimizer of a network for the digits of
scikit-learn, and stops trainings inside `fit`. Interrupt it and start it again: it goes
on with the next epoch.

Run: `python examples/search.py [--quick]`

Shows how far it is, prints the best trials and a verdict, and writes the folder
`search` and the page `search.html`: curves of all trials, also of those that were
stopped, which of the hyperparameters matter and where they are good, and a table of
everything.
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
        progress=True,
    )
    search.oracle.enqueue({"optimizer": "adam", "learning_rate": 1e-3, "width": 64})
    search.search(x, y, validation_data=held_out)
    found = search.to_dataframe()
    columns = ["trial", "status", "score", "epochs", "hp.depth", "hp.width"]
    print(found[columns].head(5))
    stopped, took = (found["status"] == "stopped").sum(), int(found["epochs"].sum())
    print(
        f"The best reads {found['score'].max():.1%} right. {stopped} trials were",
        end="",
    )
    print(f" stopped: {took} epochs in place of {trials * max_epochs}.")
    search.report("search.html", title="A network that reads digits")
    print("Wrote search.html")


if __name__ == "__main__":
    main()
