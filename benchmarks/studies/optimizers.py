"""Which parts of an optimizer help, and which of them together?

Seven factors, each on or off:

- clipping: gradients clipped to the global norm 1;
- momentum: 0.9 in place of 0;
- second moment: the steps of Adam in place of those of SGD;
- schedule: one cycle of the learning rate in place of a constant one;
- centralization: gradients without their mean over the inputs of a unit;
- SAM: sharpness-aware minimization with `rho=0.05`;
- averaging: the mean of the weights of the last quarter of the epochs.

Of the 128 combinations the 64 with an even number of factors are run: main effects and
interactions of two can be told apart in them, and from those of up to four. The largest
learning rate of a run is that which was best on validation data, with the first seed,
for its momentum, second moment and schedule, all else being off.

Tasks: a perceptron on digits (`digits`), one with 20 layers (`deep`), a regression on
the diabetes data (`regression`), a GRU that reads digits by rows (`gru`), and with
`--data` a convolutional net on 3,000 images of MNIST (`mnist`).

Printed per task is what a factor changes about the test loss in percent, over all
combinations of the others, and the interactions of two that stand out: how much larger
the effect of one is with the other than what both have alone. Intervals of 95 %, with
seeds as blocks. A training that diverges counts as one that has learned nothing.

Run: `python benchmarks/studies/optimizers.py [--only digits,deep,regression,gru,mnist]
[--seeds 5] [--data mnist10k DIR] [--json FILE]`
"""

import argparse
import itertools
import json
import math
from functools import cache
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_diabetes

import keras_ext as kx
from benchmarks._data import digits, mnist10k, train_validation_test
from benchmarks._intervals import half_interval

FACTORS = (
    "clipping",
    "momentum",
    "second moment",
    "schedule",
    "centralization",
    "SAM",
    "averaging",
)
DESIGN = [on for on in itertools.product([0, 1], repeat=7) if sum(on) % 2 == 0]
BATCH_SIZE = 32
EPOCHS = {"digits": 16, "deep": 16, "regression": 48, "gru": 12, "mnist": 6}
# For SGD, which takes a third of it with momentum, and for Adam.
RATES = {0: (0.03, 0.1, 0.3, 1.0), 1: (3e-4, 1e-3, 3e-3, 1e-2)}


@cache
def data(task, folder=None):
    """Training, validation and test data."""
    if task == "regression":
        x, y = load_diabetes(return_X_y=True)
        x, y = (np.float32((a - a.mean(0)) / a.std(0)) for a in (x, y))
    elif task == "mnist":
        x, y = (a[:5000] for a in mnist10k(folder, (28, 28, 1)))
    else:
        x, y = digits((8, 8) if task == "gru" else (64,))
    return train_validation_test(x, y)


def layers(task):
    dense = keras.layers.Dense
    if task == "mnist":
        return [
            keras.layers.Conv2D(8, 3, strides=2, activation="relu"),
            keras.layers.Conv2D(16, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            dense(10),
        ]
    if task == "gru":
        return [keras.layers.GRU(32), dense(10)]
    if task == "deep":
        deep = [dense(32, "relu", kernel_initializer="he_normal") for _ in range(20)]
        return [*deep, dense(10)]
    outputs = 1 if task == "regression" else 10
    return [dense(64, "relu"), dense(64, "relu"), dense(outputs)]


def loss_of(task):
    if task == "regression":
        return keras.losses.MeanSquaredError()
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def optimizer(on, rate, updates):
    rate = kx.schedules.OneCycle(rate, updates) if on["schedule"] else rate
    momentum = 0.9 * on["momentum"]
    if on["second moment"]:
        inner = keras.optimizers.Adam(rate, beta_1=momentum)
    else:
        inner = keras.optimizers.SGD(rate, momentum=momentum)
    transforms = []
    if on["centralization"]:
        transforms.append(kx.gradients.Centralize())
    if on["clipping"]:
        transforms.append(kx.gradients.ClipByGlobalNorm(1.0))
    return kx.optimizers.GradientPipeline(inner, transforms) if transforms else inner


def callbacks(on, epochs):
    made = []
    if on["SAM"]:
        made.append(kx.training.SharpnessAware(0.05))
    if on["averaging"]:
        made.append(kx.callbacks.StochasticWeightAveraging(3 * epochs // 4))
    return made


def run(task, combination, rate, seed, folder, part=2):
    """The logarithm of the loss on test data (2), or on validation data (1)."""
    on = dict(zip(FACTORS, combination, strict=True))
    train, epochs = data(task, folder)[0], EPOCHS[task]
    updates = epochs * math.ceil(len(train[0]) / BATCH_SIZE)
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input(train[0].shape[1:]), *layers(task)])
    model.compile(optimizer(on, rate, updates), loss_of(task))
    model.fit(
        *train,
        batch_size=BATCH_SIZE,
        epochs=epochs,
        callbacks=callbacks(on, epochs),
        verbose=0,
    )
    loss = model.evaluate(*data(task, folder)[part], batch_size=1024, verbose=0)
    keras.utils.clear_session(free_memory=False)
    nothing = 1.0 if task == "regression" else math.log(10)
    return math.log(loss if loss < nothing else nothing)


@cache
def best_rate(task, momentum, second, schedule, folder):
    combination = (0, momentum, second, schedule, 0, 0, 0)
    rates = [r / 3 if momentum and not second else r for r in RATES[second]]
    return min(rates, key=lambda r: run(task, combination, r, 0, folder, part=1))


def effects(columns, losses):
    """For columns of 1 and -1: the mean difference, for each seed."""
    return np.asarray(losses) @ columns / (columns.shape[0] / 2)


def in_percent(values):
    mean = 100 * math.expm1(np.mean(values))
    return f"{mean:+6.1f} ± {100 * half_interval(values):.1f}"


def study(task, options):
    folder = options.data and options.data[1]
    losses = [
        [run(task, c, best_rate(task, *c[1:4], folder), seed, folder) for c in DESIGN]
        for seed in range(options.seeds)
    ]
    signs = 2 * np.array(DESIGN) - 1
    print(f"\n{task}: {options.seeds} seeds, {EPOCHS[task]} epochs", flush=True)
    for name, values in zip(FACTORS, effects(signs, losses).T, strict=True):
        print(f"  {name:16}{in_percent(values):>16} %")
    for i, j in itertools.combinations(range(7), 2):
        (values,) = effects((signs[:, i] * signs[:, j])[:, None], losses).T
        if abs(np.mean(values)) > max(half_interval(values), 0.03):
            print(f"  {FACTORS[i]} with {FACTORS[j]}: {in_percent(values)} %")
    best = np.argsort(np.mean(losses, axis=0))[:3]
    for place in best:
        names = [n for n, on in zip(FACTORS, DESIGN[place], strict=True) if on]
        loss = math.exp(np.mean(losses, axis=0)[place])
        print(f"  {loss:.4f} with {', '.join(names) or 'none'}", flush=True)
    return losses


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="digits,deep,regression,gru")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", nargs=2, metavar=("mnist10k", "DIR"))
    parser.add_argument("--json", default="optimizers.json")
    options = parser.parse_args()
    found = {}
    for task in options.only.split(","):
        found[task] = study(task, options)
        Path(options.json).write_text(json.dumps({"design": DESIGN, **found}))


if __name__ == "__main__":
    main()
