"""When would each stopping rule have ended the training, and at what price?

Three tasks: the digits of scikit-learn with 250 rows to train on; 1,000 of them with
40 % wrong labels; and logistic regression on the breast cancer data. On each, one
training on all rows serves the rules that need no validation data, one on 80 % of the
rows those that do, and one is left to `FreezeConverged`, which interferes.
The rules only watch: it is noted when each would have stopped, and training goes on.

Printed per rule: the test loss at the stop, and its excess over the best epoch of the
training on all rows with the same seed (the regret), both with the weights of the last
epoch and with the best ones restored; the epochs used; and how often the rule stopped
at all (otherwise the last epoch counts). Means with 95 % confidence intervals. The
price of the rows that are held out is part of the regret.

Run: `python benchmarks/studies/stopping.py [--seeds 8] [--json FILE] [--only TASK]`
"""

import argparse
import json
import platform
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import keras_ext as kx
from benchmarks._data import digits
from benchmarks._intervals import mean_and_interval

BATCH_SIZE = 32
SETTINGS = {"restore_best_weights": True}
# None of them stops before the fifth epoch.
THREE_RISES = {"patience": 3, "start_from_epoch": 1, **SETTINGS}


def digits_250(seed):
    """Few rows: a perceptron soon knows them by heart, with a fast optimizer."""
    x, y = digits()
    x_train, x_test, y_train, y_test = train_test_split(
        x, y, train_size=250, stratify=y, random_state=seed
    )
    return (x_train, y_train), (x_test, y_test), lambda: perceptron(3e-3), 80


def digits_wrong_labels(seed):
    """Of the training labels, 40 % are wrong."""
    x, y = digits()
    x_train, x_test, y_train, y_test = train_test_split(
        x, y, train_size=1000, stratify=y, random_state=seed
    )
    rng = np.random.default_rng(seed)
    wrong = rng.uniform(size=1000) < 0.4
    y_train = np.where(wrong, (y_train + rng.integers(1, 10, 1000)) % 10, y_train)
    return (x_train, y_train), (x_test, y_test), perceptron, 60


def logistic_regression(seed):
    """200 rows of 30 features, by plain SGD."""
    x, y = load_breast_cancer(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        x, y, train_size=200, stratify=y, random_state=seed
    )
    mean, scale = x_train.mean(axis=0), x_train.std(axis=0)
    x_train, x_test = (x_train - mean) / scale, (x_test - mean) / scale
    return (x_train, y_train), (x_test, y_test), linear, 150


def perceptron(rate=1e-3):
    layers = [
        keras.Input((64,)),
        keras.layers.Dense(128, "relu"),
        keras.layers.Dense(64, "relu"),
        keras.layers.Dense(10),
    ]
    model = keras.Sequential(layers)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss)
    return model


def linear():
    model = keras.Sequential([keras.Input((30,)), keras.layers.Dense(1)])
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.3), loss)
    return model


TASKS = {f.__name__: f for f in (digits_250, digits_wrong_labels, logistic_regression)}


def rules_without_validation(data):
    boundary = {"boundary": 0.0}
    c = kx.callbacks
    return {
        "gradient norm < 3 % of peak": c.GradientNormEarlyStopping(**SETTINGS),
        "gradient norm < 10 %, debiased": c.GradientNormEarlyStopping(
            0.1, debias=True, **SETTINGS
        ),
        "gradient norm without trend": c.GradientNormEarlyStopping(
            trend=20, **SETTINGS
        ),
        "evidence": c.EvidenceBasedEarlyStopping(**SETTINGS),
        "disparity, patience 5": c.GradientDisparityEarlyStopping(data, **SETTINGS),
        "disparity, patience 3": c.GradientDisparityEarlyStopping(data, **THREE_RISES),
        "label wave": c.LabelWaveEarlyStopping(data, **SETTINGS, **boundary),
        "vote of the last three": c.StopWhen(
            "vote",
            [
                c.EvidenceBasedEarlyStopping(**SETTINGS),
                c.GradientDisparityEarlyStopping(data, **THREE_RISES),
                c.LabelWaveEarlyStopping(data, **SETTINGS, **boundary),
            ],
        ),
        "EarlyStopping(loss, 5)": keras_rule("loss", 5),
        "all epochs": keras.callbacks.Callback(),
    }


def rules_with_validation():
    c = kx.callbacks
    return {
        **{f"EarlyStopping({p})": keras_rule("val_loss", p) for p in (3, 5, 10)},
        "GL > 5": c.PrecheltEarlyStopping("gl", start_from_epoch=4, **SETTINGS),
        "PQ > 0.75": c.PrecheltEarlyStopping("pq", **SETTINGS),
        "UP, 3 strips": c.PrecheltEarlyStopping("up", **SETTINGS),
        "all epochs, 80 % of rows": keras.callbacks.Callback(),
    }


def keras_rule(monitor, patience):
    return keras.callbacks.EarlyStopping(
        monitor, patience=patience, mode="min", restore_best_weights=True
    )


class Watch(keras.callbacks.Callback):
    """Notes when the callback before it in the list stops training; training goes on.

    Until then it also notes the epoch whose weights the callback would restore.
    """

    def __init__(self, rule):
        super().__init__()
        self.rule = rule
        self.stop = None
        self.best = None
        self._held = None

    def on_epoch_end(self, epoch, logs=None):
        if self.stop is None:
            held = best_weights(self.rule)
            if held is not None and held is not self._held:
                self._held, self.best = held, epoch
            if self.model.stop_training:
                self.stop = epoch
        self.model.stop_training = False


def best_weights(rule):
    if isinstance(rule, kx.callbacks.StopWhen):
        return None
    return getattr(rule, "best_weights", None) or vars(rule).get("_best_weights")


class TestLoss(keras.callbacks.Callback):
    """The loss on the test data after each epoch."""

    def __init__(self, data):
        super().__init__()
        self.probe = kx.signals.LossProbe(data)
        self.losses = []

    def on_epoch_end(self, epoch, logs=None):
        self.losses.append(self.probe.measure(self.model))


def train(make_model, seed, data, test, epochs, rules, **options):
    """Trains once; returns the test losses, and when each rule stopped."""
    keras.utils.set_random_seed(seed)
    watches = {name: Watch(rule) for name, rule in rules.items()}
    losses = TestLoss(test)
    make_model().fit(
        *data,
        batch_size=BATCH_SIZE,
        epochs=epochs,
        callbacks=[
            losses,
            *(c for name in rules for c in (rules[name], watches[name])),
        ],
        verbose=0,
        **options,
    )
    return losses.losses, watches


def one_seed(task, seed):
    """What each rule would have reached, from name to numbers."""
    data, test, make_model, epochs = TASKS[task](seed)
    x, x_held, y, y_held = train_test_split(*data, test_size=0.2, random_state=seed)
    settings = (make_model, seed)
    whole = train(*settings, data, test, epochs, rules_without_validation(data))
    part = train(
        *settings,
        (x, y),
        test,
        epochs,
        rules_with_validation(),
        validation_data=(x_held, y_held),
    )
    layers = {"layers one by one": kx.callbacks.FreezeConverged()}
    alone = train(*settings, data, test, epochs, layers)
    best = min(whole[0])
    found = {"best epoch": row(whole[0], *[int(np.argmin(whole[0]))] * 2, best, True)}
    for losses, watches in (whole, part, alone):
        for name, watch in watches.items():
            stop = len(losses) - 1 if watch.stop is None else watch.stop
            stopped = watch.stop is not None
            # That of Keras also restores when no epochs are left.
            restores = stopped or isinstance(watch.rule, keras.callbacks.EarlyStopping)
            restored = watch.best if restores and watch.best is not None else stop
            found[name] = row(losses, stop, restored, best, stopped)
    return found


def row(losses, stop, restored, best, stopped):
    return {
        "loss": losses[stop],
        "regret": losses[stop] / best - 1,
        "regret_restored": losses[restored] / best - 1,
        "epochs": stop + 1,
        "stopped": float(stopped),
    }


def show(task, seeds):
    print(f"\n{task}, {len(seeds)} seeds\n")
    print("| rule | test loss | regret, % | restored, % | epochs | stopped |")
    print("|---|---|---|---|---|---|")
    for name in seeds[0]:
        cells = []
        for key, factor, places in (
            ("loss", 1, 3),
            ("regret", 100, 0),
            ("regret_restored", 100, 0),
            ("epochs", 1, 0),
        ):
            values = [factor * seed[name][key] for seed in seeds]
            cells.append(mean_and_interval(values, places))
        count = int(sum(seed[name]["stopped"] for seed in seeds))
        print(f"| {name} | {' | '.join(cells)} | {count} of {len(seeds)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--only", choices=TASKS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = {}
    for task in [options.only] if options.only else TASKS:
        results[task] = [one_seed(task, seed) for seed in range(options.seeds)]
        show(task, results[task])
        if options.json:
            versions = {"keras": keras.__version__, "python": platform.python_version()}
            options.json.write_text(json.dumps({**versions, "results": results}))


if __name__ == "__main__":
    main()
