"""Do cyclical learning rates help, with which optimizer, and do they need warm-up?

All combinations of an optimizer (SGD with momentum, RMSprop, Adam, AdamW), a schedule
and warm-up over the first tenth of the training, or none. The schedules:

- constant;
- triangular: four cycles from a tenth of the largest rate up and back;
- shrinking: the same, each of half the height of the one before;
- restarts: four times from the largest rate to zero along a cosine.

The largest rate is that which was best on validation data, with the first seed, for the
optimizer and the schedule, without warm-up. The tasks are those of `optimizers.py`.

Printed per task are the test losses (geometric means), and what a schedule changes
about them in percent of the constant rate with the same optimizer, warm-up and seed;
and what warm-up changes, for each optimizer. Intervals of 95 %, with seeds as blocks.

Run: `python benchmarks/studies/schedules.py [--only digits,deep,regression,gru,mnist]
[--seeds 3] [--data mnist10k DIR] [--json FILE]`
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
from benchmarks.studies._tasks import (
    EPOCHS,
    Training,
    in_percent,
    num_updates,
    rates_of,
)

CYCLES, LOW = 4, 0.1
_ADAM_RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
OPTIMIZERS = {
    "SGD": (
        lambda rate: keras.optimizers.SGD(rate, momentum=0.9),
        (3e-3, 1e-2, 3e-2, 0.1, 0.3),
    ),
    "RMSprop": (keras.optimizers.RMSprop, (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)),
    "Adam": (keras.optimizers.Adam, _ADAM_RATES),
    "AdamW": (
        lambda rate: keras.optimizers.AdamW(rate, weight_decay=0.01),
        _ADAM_RATES,
    ),
}
SCHEDULES = ("constant", "triangular", "shrinking", "restarts")


@cache
def relative_rates(name, warms_up, updates):
    """The learning rates of a training by the largest."""
    cycle = updates / CYCLES
    if name == "constant":
        schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1], [1.0, 1.0])
    elif name == "restarts":
        schedule = keras.optimizers.schedules.CosineDecayRestarts(
            1.0, math.ceil(cycle), t_mul=1.0
        )
    else:
        scale = {"triangular": "triangular", "shrinking": "triangular2"}[name]
        schedule = kx.schedules.CyclicalLearningRate(LOW, 1.0, cycle / 2, scale)
    if warms_up:
        schedule = kx.schedules.Warmup(schedule, math.ceil(updates / 10))
    return rates_of(schedule, updates)


def run(task, combination, rate, seed, folder, part=2):
    """The logarithm of the loss on test data (2), or on validation data (1)."""
    kind, name, warms_up = combination
    rates = rate * relative_rates(name, warms_up, num_updates(task, folder))
    return training(task, kind, folder).log_loss(rates, seed, part=part)


@cache
def training(task, kind, folder):
    return Training(task, OPTIMIZERS[kind][0], folder)


@cache
def best_rate(task, kind, name, folder):
    rates = OPTIMIZERS[kind][1]
    return min(
        rates, key=lambda r: run(task, (kind, name, False), r, 0, folder, part=1)
    )


def study(task, options):
    """From combination to a loss for each seed."""
    folder = options.data and options.data[1]
    found = {}
    for combination in itertools.product(OPTIMIZERS, SCHEDULES, (False, True)):
        rate = best_rate(task, *combination[:2], folder)
        losses = [
            run(task, combination, rate, seed, folder) for seed in range(options.seeds)
        ]
        found[combination] = np.array(losses)
    return found


def show(task, found, seeds):
    print(f"\n{task}: {seeds} seeds, {EPOCHS[task]} epochs; test losses", flush=True)
    print(f"| optimizer, warm-up | {' | '.join(SCHEDULES)} |")
    print("|---" * (len(SCHEDULES) + 1) + "|")
    for kind, warms_up in itertools.product(OPTIMIZERS, (False, True)):
        base = found[kind, "constant", warms_up]
        cells = [f"{math.exp(base.mean()):.4f}"]
        for name in SCHEDULES[1:]:
            losses = found[kind, name, warms_up]
            change = in_percent(losses - base).strip()
            cells.append(f"{math.exp(losses.mean()):.4f} ({change} %)")
        print(f"| {kind}, {'with' if warms_up else 'none'} | {' | '.join(cells)} |")
    for kind in OPTIMIZERS:
        changes = [found[kind, s, True] - found[kind, s, False] for s in SCHEDULES]
        print(f"  warm-up with {kind}: {in_percent(np.mean(changes, axis=0))} %")
    for name in SCHEDULES[1:]:
        changes = [
            found[kind, name, w] - found[kind, "constant", w]
            for kind, w in itertools.product(OPTIMIZERS, (False, True))
        ]
        print(f"  {name}: {in_percent(np.mean(changes, axis=0))} %", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="digits,deep,regression,gru")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", nargs=2, metavar=("mnist10k", "DIR"))
    parser.add_argument("--json", default="schedules.json")
    options = parser.parse_args()
    results = {}
    for task in options.only.split(","):
        found = study(task, options)
        show(task, found, options.seeds)
        results[task] = [[*key, *map(float, values)] for key, values in found.items()]
        Path(options.json).write_text(json.dumps(results))


if __name__ == "__main__":
    main()
