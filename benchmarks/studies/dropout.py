"""Does dropout that adapts spare the search for its rate?

Two regimes on the digits of scikit-learn, a perceptron each, with three parts of the
data: to train, to control the rate, and to test.

- overfitting: 250 rows to train, 128 hidden units, 60 epochs;
- underfitting: 1,000 rows to train, 16 hidden units, 40 epochs.

Compared on the test loss are the rates 0, 0.1, ... 0.5, fixed, and
`keras_ext.callbacks.AdaptiveDropout`, which begins at 0.1: with its defaults,
without its guards, and without them and with a smaller target. All see the same
splits, first weights and batches for a seed.

Printed per variant: test loss and accuracy, and the regret, in percent of the loss of
the best fixed rate and of the mean of the fixed rates, with the 95 % confidence
interval of the differences over seeds. The best of the grid is chosen by the test loss
itself, with hindsight: nobody who searches the grid does better.

Run: `python benchmarks/studies/dropout.py [--seeds 8] [--first-seed 0] [--json FILE]
[--only overfitting,underfitting]`
"""

import argparse
import json
import math
import statistics
from pathlib import Path

import keras
import numpy as np
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_ext as kx

GRID = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
FIRST_RATE = 0.1
REGIMES = {
    "overfitting": {"rows": 250, "units": 128, "epochs": 60},
    "underfitting": {"rows": 1000, "units": 16, "epochs": 40},
}
VARIANTS = {
    "adaptive": lambda *data: kx.callbacks.AdaptiveDropout(*data),
    "adaptive, no guards": lambda *data: kx.callbacks.AdaptiveDropout(
        *data, guards=False
    ),
    "target 0.1, no guards": lambda *data: kx.callbacks.AdaptiveDropout(
        *data, target_gap=0.1, guards=False
    ),
}


def split(rows, seed):
    digits = load_digits()
    x, y = (digits.data / 16.0).astype("float32"), digits.target
    options = {"random_state": seed}
    x, x_rest, y, y_rest = train_test_split(
        x, y, train_size=rows, stratify=y, **options
    )
    x_control, x_test, y_control, y_test = train_test_split(
        x_rest, y_rest, train_size=250, stratify=y_rest, **options
    )
    return (x, y), (x_control, y_control), (x_test, y_test)


class Trainer:
    """Trains one model again and again from the start, with one compiled step."""

    def __init__(self, regime):
        self.regime = regime
        self.dropout = kx.layers.AdaptiveDropout(0.0)
        self.model = keras.Sequential(
            [
                keras.Input((64,)),
                keras.layers.Dense(regime["units"], "relu"),
                self.dropout,
                keras.layers.Dense(10),
            ]
        )
        self.model.compile(
            keras.optimizers.Adam(3e-3),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            steps_per_execution=8,
        )
        self.model.optimizer.build(self.model.trainable_variables)
        self.fresh = [
            keras.ops.convert_to_numpy(v).copy() for v in self.model.optimizer.variables
        ]

    def restart(self, seed, rate):
        keras.utils.set_random_seed(seed)
        for i, v in enumerate(self.model.trainable_variables):
            if len(v.shape) == 2:
                v.assign(keras.initializers.GlorotUniform(10 * seed + i)(v.shape))
            else:
                v.assign(np.zeros(v.shape))
        for v, value in zip(self.model.optimizer.variables, self.fresh, strict=True):
            v.assign(value)
        self.dropout.rate = rate

    def run(self, rate, make_callback, seed):
        train, control, test = split(self.regime["rows"], seed)
        self.restart(seed, rate)
        history = self.model.fit(
            *train,
            32,
            epochs=self.regime["epochs"],
            callbacks=[make_callback(train, control)] if make_callback else [],
            verbose=0,
        ).history
        loss, accuracy = self.model.evaluate(*test, verbose=0, batch_size=2048)
        rates = history.get("dropout_rate", [rate])
        return {"seed": seed, "loss": loss, "accuracy": accuracy, "rates": rates}


def half_interval(values):
    """Half the width of the 95 % confidence interval of the mean."""
    n = len(values)
    return stats.t.ppf(0.975, n - 1) * statistics.stdev(values) / math.sqrt(n)


def regret(losses, reference):
    """In percent of the mean of the reference, with its confidence interval."""
    differences = [a - b for a, b in zip(losses, reference, strict=True)]
    unit = statistics.mean(reference) / 100
    return statistics.mean(differences) / unit, half_interval(differences) / unit


def study(name, options):
    regime = REGIMES[name]
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    print(f"\n{name}: {regime}, {options.seeds} seeds")
    print(
        f"  {'variant':24}{'test loss':>10}{'accuracy, %':>13}"
        f"{'to the best, %':>17}{'to the mean, %':>17}  rates"
    )
    trainer = Trainer(regime)
    runs = {f"fixed {p}": [trainer.run(p, None, s) for s in seeds] for p in GRID}
    losses = {k: [r["loss"] for r in rows] for k, rows in runs.items()}
    best = min(losses.values(), key=statistics.mean)
    mean = [statistics.mean(row) for row in zip(*losses.values(), strict=True)]
    for variant in (*runs, *VARIANTS):
        if variant in VARIANTS:
            make = VARIANTS[variant]
            runs[variant] = [trainer.run(FIRST_RATE, make, s) for s in seeds]
        print_row(variant, runs[variant], best, mean)
    return {"regime": name, **regime, "runs": runs}


def print_row(variant, rows, best, mean):
    losses = [r["loss"] for r in rows]
    to_best, to_mean = (regret(losses, reference) for reference in (best, mean))
    accuracy = 100 * statistics.mean(r["accuracy"] for r in rows)
    rates = np.mean([r["rates"] for r in rows], axis=0)
    print(
        f"  {variant:24}{statistics.mean(losses):>10.4f}{accuracy:>13.1f}"
        f"{to_best[0]:>+9.1f} ± {to_best[1]:<5.1f}{to_mean[0]:>+9.1f} ± "
        f"{to_mean[1]:<5.1f}  {' '.join(f'{r:.2f}' for r in rates[::10])}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", default=",".join(REGIMES))
    parser.add_argument("--json", default="dropout.json")
    options = parser.parse_args()
    results = [study(name, options) for name in options.only.split(",")]
    Path(options.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
