"""Does dropout that adapts spare the search for its rate?

Perceptrons on the digits of scikit-learn, and on the test images of MNIST, with three
parts of the data: to train, to control the rate, and to test.

- overfitting: 250 digits to train, 128 hidden units, 60 epochs;
- underfitting: 1,000 digits to train, 16 hidden units, 40 epochs;
- two_layers: as overfitting, with two hidden layers and dropout after each;
- mnist: 500 images to train, 128 hidden units, 60 epochs; with `--data` only.

Compared on the test loss are the rates 0, 0.1, ... 0.5, fixed, and
`keras_ext.callbacks.AdaptiveDropout`, which begins at 0.1: with its defaults,
without its guards, and without them and with a smaller target; with two layers also
the ways to share out the moves. The same rates are moved by the hypergradient, by
`keras_ext.callbacks.AdaptiveRegularization`. `keras_ext.layers.ConcreteDropout` learns
its rate from 0.1 on, with the penalties of its paper for a length scale of 0.01. All
see the same splits, first weights and batches for a seed.

Printed per variant: test loss and accuracy, and the regret, in percent of the loss of
the best fixed rate and of the mean of the fixed rates, with the 95 % confidence
interval of the differences over seeds. The best of the grid is chosen by the test loss
itself, with hindsight: nobody who searches the grid does better.

Run: `python benchmarks/studies/dropout.py [--seeds 8] [--first-seed 0] [--json FILE]
[--only overfitting,underfitting,two_layers,mnist] [--variants hypergradient,concrete]
[--data mnist10k DIR]`, where DIR has the IDX files of the test images, gzipped. The
fixed rates are always there.
"""

import argparse
import json
import math
import statistics
from functools import cache
from pathlib import Path

import keras
import numpy as np

import keras_ext as kx
from benchmarks._data import digits, mnist10k, train_control_test
from benchmarks._intervals import regret

GRID = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
FIRST_RATE = 0.1
REGIMES = {
    "overfitting": {"rows": 250, "units": 128, "epochs": 60},
    "underfitting": {"rows": 1000, "units": 16, "epochs": 40},
    "two_layers": {"rows": 250, "units": 128, "epochs": 60, "layers": 2},
    "mnist": {"rows": 500, "units": 128, "epochs": 60},
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


def by_hypergradient(train, control):
    return kx.callbacks.AdaptiveRegularization(train, control, include="rate", seed=0)


@cache
def load(name, folder):
    return mnist10k(folder) if name == "mnist" else digits()


class Trainer:
    """Trains one model again and again from the start, with one compiled step."""

    def __init__(self, regime, x, y, dropout="adaptive"):
        self.regime, self.x, self.y = regime, x, y
        self.dropout = dropout
        hidden = regime.get("layers", 1)
        layers = [keras.Input(x.shape[1:])]
        for i in range(hidden + 1):
            units = regime["units"] if i < hidden else 10
            dense = keras.layers.Dense(units, "relu" if i < hidden else None)
            layers += self.dropped(dense) if i else [dense]
        self.model = keras.Sequential(layers)
        cross_entropy = keras.metrics.SparseCategoricalCrossentropy(from_logits=True)
        self.model.compile(
            keras.optimizers.Adam(3e-3),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy", cross_entropy],
            steps_per_execution=8,
        )
        self.model.optimizer.build(self.model.trainable_variables)
        self.fresh = [
            keras.ops.convert_to_numpy(v).copy() for v in self.model.optimizer.variables
        ]

    def dropped(self, dense):
        """A layer that gets its inputs with some of them dropped."""
        if self.dropout == "adaptive":
            return [kx.layers.LiveDropout(0.0), dense]
        if self.dropout == "keras":
            return [keras.layers.Dropout(FIRST_RATE), dense]
        rows = self.regime["rows"]
        return [
            kx.layers.ConcreteDropout(
                dense,
                initial_rate=FIRST_RATE,
                weight_penalty=1e-4 / rows,
                dropout_penalty=1 / rows,
            )
        ]

    def rates(self):
        return [float(x.rate) for x in self.model.layers if hasattr(x, "rate")]

    def restart(self, seed, rate):
        keras.utils.set_random_seed(seed)
        kernels = 0
        for v in self.model.trainable_variables:
            if v.name == "rate_logit":
                v.assign(np.full(v.shape, math.log(FIRST_RATE / (1 - FIRST_RATE))))
            elif len(v.shape) == 2:
                glorot = keras.initializers.GlorotUniform(10 * seed + 2 * kernels)
                v.assign(glorot(v.shape))
                kernels += 1
            else:
                v.assign(np.zeros(v.shape))
        for v, value in zip(self.model.optimizer.variables, self.fresh, strict=True):
            v.assign(value)
        for layer in self.model.layers:
            if isinstance(layer, kx.layers.LiveDropout | keras.layers.Dropout):
                layer.rate = rate

    def run(self, rate, make_callback, seed):
        train, control, test = train_control_test(
            self.x, self.y, self.regime["rows"], seed
        )
        self.restart(seed, rate)
        history = self.model.fit(
            *train,
            32,
            epochs=self.regime["epochs"],
            callbacks=[make_callback(train, control)] if make_callback else [],
            verbose=0,
        ).history
        # Without the penalty that the loss of one of them has.
        _, accuracy, loss = self.model.evaluate(*test, verbose=0, batch_size=2048)
        moved = [v for k, v in history.items() if k.endswith("rate")]
        rates = np.mean(moved or [[r] for r in self.rates()], axis=0).tolist()
        return {
            "seed": seed,
            "loss": loss,
            "accuracy": accuracy,
            "rates": rates,
            "last_rates": self.rates(),
        }


def study(name, options):
    regime = REGIMES[name]
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    print(f"\n{name}: {regime}, {options.seeds} seeds")
    print(
        f"  {'variant':24}{'test loss':>10}{'accuracy, %':>13}"
        f"{'to the best, %':>17}{'to the mean, %':>17}  rates"
    )
    x, y = load(name, options.data and options.data[1])
    keras.utils.set_random_seed(0)  # of the layers that draw
    trainer = Trainer(regime, x, y)
    runs = {f"fixed {p}": [trainer.run(p, None, s) for s in seeds] for p in GRID}
    losses = {k: [r["loss"] for r in rows] for k, rows in runs.items()}
    best = min(losses.values(), key=statistics.mean)
    mean = [statistics.mean(row) for row in zip(*losses.values(), strict=True)]
    adaptive = VARIANTS
    others = {
        **{name: (trainer, make) for name, make in adaptive.items()},
        "hypergradient": (Trainer(regime, x, y, "keras"), by_hypergradient),
        "concrete": (Trainer(regime, x, y, "concrete"), None),
    }
    chosen = options.variants.split(",") if options.variants else others
    for variant in (*runs, *chosen):
        if variant in others:
            of_its_own, make = others[variant]
            runs[variant] = [of_its_own.run(FIRST_RATE, make, s) for s in seeds]
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
    parser.add_argument("--only")
    parser.add_argument("--variants")
    parser.add_argument("--data", nargs=2, metavar=("mnist10k", "DIR"))
    parser.add_argument("--json", default="dropout.json")
    options = parser.parse_args()
    if options.data and options.data[0] != "mnist10k":
        parser.error(f"unknown data: {options.data[0]}")
    every = [name for name in REGIMES if name != "mnist" or options.data]
    names = options.only.split(",") if options.only else every
    if "mnist" in names and not options.data:
        parser.error("mnist needs --data mnist10k DIR")
    results = [study(name, options) for name in names]
    Path(options.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
