"""Does one controller over all regularization spare the search for its settings?

A perceptron with an L2 penalty, dropout, weight decay and label smoothing, and three
parts of the data: to train, to control, and to test. Two regimes:

- overfitting: 250 rows (MNIST: 500) to train, 128 hidden units, 60 epochs;
- underfitting: 1,000 rows to train, 16 hidden units, 40 epochs.

Compared on the test loss, without penalties and smoothing, are the strategies of
`keras_ext.callbacks.AdaptiveRegularization`, which begin at the settings in `FIRST`,
and

- nothing: the settings in `FIRST` to the end;
- random search: of 1 or 4 random settings of the same four numbers, drawn from where
  the callback can get to, the one with the lowest loss on the data to control.
  `4 short` trains each for a quarter of the epochs, as many in all as one strategy.

The settings that the searches draw from are a pool, the same for all seeds; what a
search finds is the mean over all its draws from the pool. The reference is the setting
of the pool that is best for the mean test loss: it is chosen with hindsight. All see
the same splits, first weights and batches for a seed.

Printed per variant: the epochs trained in all, test loss and accuracy, and the regret
to the best of the pool and to doing nothing, in percent, with the 95 % confidence
interval of the differences over seeds. Below each strategy are the values over the
epochs, geometric means over seeds.

Run: `python benchmarks/studies/regularization.py [--seeds 8] [--first-seed 0]
[--pool 10] [--only overfitting,underfitting] [--data mnist10k DIR] [--json FILE]`,
where DIR has the images and labels of the test set of MNIST, `mnist10k-*.gz`.
"""

import argparse
import json
import math
import statistics
from pathlib import Path

import keras
import numpy as np

import keras_ext as kx
from benchmarks._data import digits, mnist10k, train_control_test
from benchmarks._intervals import regret

FIRST = {
    "hidden/kernel_regularizer/l2": 1e-4,
    "dropout/rate": 0.1,
    "optimizer/weight_decay": 0.004,
    "loss/label_smoothing": 0.02,
}
SPAN = 4.0
LARGEST = {"dropout/rate": 0.6, "loss/label_smoothing": 0.3}
REGIMES = {
    "overfitting": {"rows": 250, "units": 128, "epochs": 60},
    "underfitting": {"rows": 1000, "units": 16, "epochs": 40},
}
# Strategy, and how many times the epochs it gets.
VARIANTS = {
    "gap": ("gap", 1),
    "hypergradient": ("hypergradient", 1),
    "population, short": ("population", 1),
    "population": ("population", 4),
}


def load(name):
    return digits() if name is None else mnist10k(name)


def split(data, rows, seed):
    """What to train, control and test with, of which there are at most 2,000 rows."""
    x, y = data[0], keras.utils.to_categorical(data[1])
    train, control, (x_test, y_test) = train_control_test(x, y, rows, seed)
    return train, control, (x_test[:2000], y_test[:2000])


def random_settings(random):
    """Uniform on the scales on which the callback moves, as far as it does."""
    settings = {}
    for path, first in FIRST.items():
        offset = random.uniform(-SPAN, SPAN)
        if path in LARGEST:
            odds = first / (1 - first) * math.exp(offset)
            settings[path] = min(odds / (1 + odds), LARGEST[path])
        else:
            settings[path] = first * math.exp(offset)
    return settings


class Trainer:
    """Trains one model again and again from the start."""

    def __init__(self, data, regime):
        self.data = data
        self.regime = regime
        regularizer = keras.regularizers.L2(1e-4)
        self.model = keras.Sequential(
            [
                keras.Input((data[0].shape[1],)),
                keras.layers.Dense(
                    regime["units"],
                    "relu",
                    kernel_regularizer=regularizer,
                    name="hidden",
                ),
                keras.layers.Dropout(0.1, name="dropout"),
                keras.layers.Dense(10),
            ]
        )
        self.model.compile(
            keras.optimizers.AdamW(3e-3),
            keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
            metrics=[
                keras.metrics.CategoricalCrossentropy(from_logits=True, name="plain"),
                "accuracy",
            ],
            steps_per_execution=8,
        )
        self.model.optimizer.build(self.model.trainable_variables)
        self.live = kx.make_live(self.model, include=[f"^{p}$" for p in FIRST])
        self.fresh = [
            keras.ops.convert_to_numpy(v).copy() for v in self.model.optimizer.variables
        ]

    def restart(self, seed, settings):
        keras.utils.set_random_seed(seed)
        for i, v in enumerate(self.model.trainable_variables):
            if len(v.shape) == 2:
                v.assign(keras.initializers.GlorotUniform(10 * seed + i)(v.shape))
            else:
                v.assign(np.zeros(v.shape))
        for v, value in zip(self.model.optimizer.variables, self.fresh, strict=True):
            v.assign(value)
        for path, value in settings.items():
            self.live[path].assign(value)

    def fixed(self, settings, seed):
        """Trains with one setting; the losses after a quarter, and at the end."""
        train, control, test = split(self.data, self.regime["rows"], seed)
        self.restart(seed, settings)
        epochs = self.regime["epochs"]
        run = {"seed": seed}
        for name, begin, end in (
            ("short", 0, epochs // 4),
            ("long", epochs // 4, epochs),
        ):
            self.model.fit(*train, 32, initial_epoch=begin, epochs=end, verbose=0)
            run[name] = self.judge(test)
            run[name]["control"] = self.judge(control)["loss"]
        return run

    def judge(self, data):
        found = self.model.evaluate(*data, verbose=0, batch_size=2048, return_dict=True)
        return {"loss": found["plain"], "accuracy": found["accuracy"]}

    def adaptive(self, strategy, times, seed):
        train, control, test = split(self.data, self.regime["rows"], seed)
        self.restart(seed, FIRST)
        adapt = kx.callbacks.AdaptiveRegularization(
            train, control, rule=strategy, seed=seed
        )
        self.model.fit(
            *train,
            32,
            epochs=times * self.regime["epochs"],
            callbacks=[adapt],
            verbose=0,
        )
        values = [row["values"] for row in adapt.decisions]
        values.append({path: float(live) for path, live in self.live.items()})
        return {"seed": seed, **self.judge(test), "values": values}


def searched(pool, length, trials):
    """What a random search finds for each seed: the mean over its draws of settings."""
    found = []
    for rows in zip(*pool, strict=True):
        ranked = sorted((row[length] for row in rows), key=lambda r: r["control"])
        count = len(ranked)
        # That the best of the draws is at this rank.
        chances = [
            math.comb(count - 1 - rank, trials - 1) / math.comb(count, trials)
            for rank in range(count)
        ]
        found.append(
            {
                name: math.fsum(
                    c * r[name] for c, r in zip(chances, ranked, strict=True)
                )
                for name in ("loss", "accuracy")
            }
        )
    return found


def study(name, options):
    regime = REGIMES[name] | (
        {"rows": 500} if options.data and name == "overfitting" else {}
    )
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    print(f"\n{name}: {regime}, {options.seeds} seeds, pool of {options.pool}")
    print(
        f"  {'variant':24}{'epochs':>7}{'test loss':>10}{'accuracy, %':>13}"
        f"{'to the best, %':>17}{'to nothing, %':>17}"
    )
    keras.utils.set_random_seed(0)  # of the layers that draw
    trainer = Trainer(load(options.data[1] if options.data else None), regime)
    random = np.random.default_rng(0)
    settings = [random_settings(random) for _ in range(options.pool)]
    pool = [[trainer.fixed(chosen, s) for s in seeds] for chosen in settings]
    nothing = [trainer.fixed(FIRST, s)["long"] for s in seeds]
    long = [[row["long"] for row in rows] for rows in pool]
    best = min(long, key=lambda rows: statistics.mean(r["loss"] for r in rows))
    references = [[r["loss"] for r in rows] for rows in (best, nothing)]
    epochs = regime["epochs"]
    runs = {}

    def add(variant, times, rows):
        runs[variant] = rows
        print_row(variant, times * epochs, rows, references)

    add("best of the pool", 1, best)
    add("nothing", 1, nothing)
    add("random search, 1", 1, searched(pool, "long", 1))
    add("random search, 4 short", 1, searched(pool, "short", 4))
    add("random search, 4", 4, searched(pool, "long", 4))
    for variant in options.variants.split(";"):
        strategy, times = VARIANTS[variant]
        add(variant, times, [trainer.adaptive(strategy, times, s) for s in seeds])
    return {"regime": name, **regime, "settings": settings, "pool": pool, "runs": runs}


def print_row(variant, epochs, rows, references):
    losses = [r["loss"] for r in rows]
    to_best, to_nothing = (regret(losses, reference) for reference in references)
    accuracy = 100 * statistics.mean(r["accuracy"] for r in rows)
    print(
        f"  {variant:24}{epochs:>7}{statistics.mean(losses):>10.4f}{accuracy:>13.1f}"
        f"{to_best[0]:>+9.1f} ± {to_best[1]:<5.1f}{to_nothing[0]:>+9.1f} ± "
        f"{to_nothing[1]:<5.1f}",
        flush=True,
    )
    if "values" in rows[0]:
        for path in FIRST:
            shown = [[v[path] for v in r["values"]] for r in rows]
            logs = np.mean(np.log(np.maximum(shown, 1e-7)), axis=0)
            middle = np.exp(logs[:: max(1, len(logs) // 6)])
            print(f"      {path:32}{' '.join(f'{v:.2g}' for v in middle)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--pool", type=int, default=10)
    parser.add_argument("--only", default=",".join(REGIMES))
    parser.add_argument("--variants", default=";".join(VARIANTS))
    parser.add_argument("--data", nargs=2, metavar=("NAME", "DIR"))
    parser.add_argument("--json", default="regularization.json")
    options = parser.parse_args()
    results = [study(name, options) for name in options.only.split(",")]
    Path(options.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
