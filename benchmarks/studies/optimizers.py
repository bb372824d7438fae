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
[--seeds 5] [--data mnist10k DIR] [--json FILE]`; `--plot PICTURE FILE ...` draws what
such files hold, and prints it as a table.
"""

import argparse
import itertools
import json
import math
from functools import cache
from pathlib import Path

import keras
import numpy as np

import keras_ext as kx
from benchmarks._intervals import half_interval
from benchmarks.studies._tasks import (
    EPOCHS,
    Training,
    effects,
    in_percent,
    num_updates,
    rates_of,
)

FACTORS = (
    "clipping",
    "momentum",
    "second moment",
    "schedule",
    "centralization",
    "SAM",
    "averaging",
)
# In pictures.
TITLES = {"deep": "20 layers", "gru": "GRU", "mnist": "MNIST"}
IN_THE_OPTIMIZER = ("clipping", "momentum", "second moment", "centralization")
DESIGN = [on for on in itertools.product([0, 1], repeat=7) if sum(on) % 2 == 0]
# For SGD, which takes a third of it with momentum, and for Adam.
RATES = {0: (0.03, 0.1, 0.3, 1.0), 1: (3e-4, 1e-3, 3e-3, 1e-2)}


def optimizer(on, rate):
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


@cache
def one_cycle(updates):
    return rates_of(kx.schedules.OneCycle(1.0, updates), updates)


@cache
def training(task, *structure, folder):
    """One for all combinations that differ in what is outside of the optimizer."""
    on = dict(zip(FACTORS, structure, strict=True))
    return Training(task, lambda rate: optimizer(on, rate), folder)


def run(task, combination, rate, seed, folder, part=2):
    """The logarithm of the loss on test data (2), or on validation data (1)."""
    on = dict(zip(FACTORS, combination, strict=True))
    rates = rate * one_cycle(num_updates(task, folder)) if on["schedule"] else rate
    structure = (on[name] * (name in IN_THE_OPTIMIZER) for name in FACTORS)
    return training(task, *structure, folder=folder).log_loss(
        rates, seed, callbacks=callbacks(on, EPOCHS[task]), part=part
    )


@cache
def best_rate(task, momentum, second, schedule, folder):
    combination = (0, momentum, second, schedule, 0, 0, 0)
    rates = [r / 3 if momentum and not second else r for r in RATES[second]]
    return min(rates, key=lambda r: run(task, combination, r, 0, folder, part=1))


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


def found_effects(files):
    """From task to effects, seeds and factors, of files of results."""
    signs, found = 2 * np.array(DESIGN) - 1, {}
    for file in files:
        results = json.loads(Path(file).read_text())
        if results.pop("design") != [list(row) for row in DESIGN]:
            raise SystemExit(f"{file} is of another design.")
        found |= {task: effects(signs, losses) for task, losses in results.items()}
    return found


def table(found):
    print(f"| factor | {' | '.join(found)} |")
    print("|---" * (len(found) + 1) + "|")
    for i, name in enumerate(FACTORS):
        cells = [in_percent(values[:, i]).strip() for values in found.values()]
        print(f"| {name} | {' | '.join(cells)} |")


def plot(path, found):
    """Draws what each factor changes about the test loss, with its intervals."""
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7, 4), layout="constrained")
    places = np.arange(len(FACTORS))
    for number, (task, values) in enumerate(found.items()):
        shift = (number - (len(found) - 1) / 2) * 0.8 / len(found)
        means = 100 * np.expm1(values.mean(axis=0))
        halves = [100 * half_interval(column) for column in values.T]
        label = TITLES.get(task, task)
        axis.errorbar(
            means, places + shift, xerr=halves, fmt="o", capsize=3, label=label
        )
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks(places, FACTORS)
    axis.invert_yaxis()
    axis.set_xlim(-75, 75)
    axis.set_xlabel("change of the test loss, % (left is better)")
    axis.legend()
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="digits,deep,regression,gru")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", nargs=2, metavar=("mnist10k", "DIR"))
    parser.add_argument("--json", default="optimizers.json")
    parser.add_argument("--plot", nargs="+", metavar=("PICTURE", "FILE"))
    options = parser.parse_args()
    if options.plot:
        picture, *files = options.plot
        table(found_effects(files))
        plot(picture, found_effects(files))
        return
    found = {}
    for task in options.only.split(","):
        found[task] = study(task, options)
        Path(options.json).write_text(json.dumps({"design": DESIGN, **found}))


if __name__ == "__main__":
    main()
