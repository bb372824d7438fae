"""Is what did well on other tasks a good start on a new one?

Reads what `benchmarks/studies/composition.py` has written: the same configurations on
several tasks. Each task in turn is left out, `keras_ext.tuner.recommend` chooses some
configurations by the others, and what the best of them reaches on the task left out is
compared with what the best of as many that are drawn at random is expected to reach,
and with how many of those it takes to reach the same.

With `--write` the table that `recommend` reads is made from the file: of each task the
losses of those configurations that are among the best of some task, as regrets.

Run: `python benchmarks/studies/recommend.py composition.json [--write FILE]`
"""

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks.studies.composition import (
    TASKS,
    costs_of,
    data_of,
    drawn,
    expected_best,
)
from keras_ext.tuner._recommend import PastTrials, portfolio

COUNTS = (1, 3, 5, 10)
KEPT = 25


def sizes_of(task, folder):
    """What `recommend` is told about a task."""
    (x, y), _ = data_of(task, folder)
    return {
        "num_rows": len(x),
        "num_features": int(np.prod(x.shape[1:])),
        "num_classes": int(max(y)) + 1,
        "depth": TASKS[task]["depth"],
    }


def regrets_of(costs):
    """From 0 for the least to 1 for the median and what is more."""
    least, middle = np.min(costs, axis=1), np.median(costs, axis=1)
    return np.clip((costs - least[:, None]) / (middle - least)[:, None], 0, 1)


def kept_of(costs):
    """The places of the configurations that are among the best of some task."""
    return sorted({int(i) for row in costs for i in np.argsort(row)[:KEPT]})


def number_to_reach(costs, loss):
    """How many random configurations are expected to have one as good."""
    for number in range(1, len(costs) + 1):
        if expected_best(costs, number) <= loss:
            return number
    return len(costs)


def leave_one_out(names, sizes, costs):
    """Rows of task, count, loss, loss of random ones, and how many reach the first."""
    for left_out in range(len(names)):
        others = [i for i in range(len(names)) if i != left_out]
        kept = kept_of(costs[others])
        past = PastTrials([], sizes[others], regrets_of(costs[others])[:, kept])
        order = portfolio(past, sizes[left_out], max(COUNTS))
        reached = costs[left_out][kept][order]
        for count in COUNTS:
            best = float(min(reached[:count]))
            by_chance = expected_best(costs[left_out], count)
            to_reach = number_to_reach(costs[left_out], best)
            yield names[left_out], count, best, by_chance, to_reach


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results")
    parser.add_argument("--data", help="folder with the IDX files of MNIST")
    parser.add_argument("--write")
    options = parser.parse_args()
    runs = json.loads(Path(options.results).read_text())
    names = list(dict.fromkeys(run["task"] for run in runs))
    costs = np.array([costs_of([r for r in runs if r["task"] == t]) for t in names])
    known = [sizes_of(task, options.data) for task in names]
    sizes = np.log([list(size.values()) for size in known])

    print("task       tried  recommended  at random  random to reach it")
    for task, count, best, by_chance, to_reach in leave_one_out(names, sizes, costs):
        print(f"{task:10}{count:>6}{best:>13.3f}{by_chance:>11.3f}{to_reach:>13}")
    if options.write:
        kept = kept_of(costs)
        values = [hp.values for hp in drawn(len(costs[0]), seed=0)]
        rounded = np.round(regrets_of(costs)[:, kept], 3).tolist()
        content = {
            "values": [with_few_digits(values[i]) for i in kept],
            "tasks": [
                {"name": name, "sizes": size, "regrets": row}
                for name, size, row in zip(names, known, rounded, strict=True)
            ],
        }
        Path(options.write).write_text(json.dumps(content) + "\n")


def with_few_digits(values):
    return {
        name: float(f"{value:.3g}") if isinstance(value, float) else value
        for name, value in values.items()
    }


if __name__ == "__main__":
    main()
