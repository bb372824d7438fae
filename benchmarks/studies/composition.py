"""Which combination of direction, clipping, schedule and averaging suits a task?

Configurations are drawn at random from `keras_ext.tuner.spaces.optimization`, the same
ones for all tasks, and each trains a network of `keras_ext.tuner.spaces.mlp`:

- digits: 1,797 images of scikit-learn, two hidden layers with batch normalization;
- deep: the same with eight hidden layers and no normalization;
- noisy: as digits, with a fifth of the training labels wrong;
- few: as digits, with 150 rows to train on;
- cancer: as digits, on the 30 features of the Wisconsin breast cancer data;
- mnist: as digits, on the 10,000 test images of MNIST; with `--data` only.

What is drawn: SGD, RMSprop, Adam, AdamW or Lion, its momentum and betas and a learning
rate between a hundredth and a hundred times the usual one; no clipping, by the norm of
all, or adaptive; a constant rate, cosine, warmup and cosine, or one cycle; no
averaging, exponential or Lookahead.

Printed per task and value of each choice: the share of configurations that end worse
than chance, the median of the test loss, and the loss that the best of ten of them is
expected to have: what a search of ten trials within this choice finds. Its interval is
from 2,000 bootstrap samples of the configurations. Below, the best five, and how much
of the rank of the losses the tasks have in common (Spearman).

Run: `python benchmarks/studies/composition.py [--trials 150] [--epochs 15] [--seed 0]
[--only digits,deep,noisy,few,cancer,mnist] [--data DIR] [--json FILE]
[--plot FILE.png]`.
"""

import argparse
import itertools
import json
import math
from pathlib import Path

import keras
import keras_tuner
import numpy as np
from scipy import stats
from sklearn.datasets import load_breast_cancer

import keras_ext as kx
from benchmarks._data import digits, mnist10k, train_validation_test

BATCH_SIZE = 32
BEST_OF = 10
CHOICES = ("direction", "clip", "schedule", "averaging")
TASKS = {
    "digits": {"depth": 2, "normalization": "batch"},
    "deep": {"depth": 8, "normalization": "none"},
    "noisy": {"depth": 2, "normalization": "batch", "wrong": 0.2},
    "few": {"depth": 2, "normalization": "batch", "rows": 150},
    "cancer": {"depth": 2, "normalization": "batch"},
    "mnist": {"depth": 2, "normalization": "batch"},
}


def space(total_steps=None):
    return kx.tuner.spaces.optimization(total_steps=total_steps)


def drawn(number, seed):
    """Configurations at random, as `HyperParameters`."""
    declared = keras_tuner.HyperParameters()
    space().declare(declared)
    rng = np.random.default_rng(seed)
    for _ in range(number):
        found = keras_tuner.HyperParameters()
        for hp in declared.space:
            found.merge([hp])
            if found.is_active(hp):
                found.values[hp.name] = hp.prob_to_value(rng.random())
        yield found


def cancer():
    """Features of mean 0 and deviation 1, and labels."""
    x, y = load_breast_cancer(return_X_y=True)
    return ((x - x.mean(0)) / x.std(0)).astype("float32"), y


def data_of(name, folder):
    """Rows to train and to test; some of the labels to train with may be wrong."""
    makes = {"mnist": lambda: mnist10k(folder), "cancer": cancer}
    (x, y), _, test = train_validation_test(*makes.get(name, digits)())
    x, y = x[: TASKS[name].get("rows")], y[: TASKS[name].get("rows")]
    rng = np.random.default_rng(0)
    is_wrong = rng.random(len(y)) < TASKS[name].get("wrong", 0.0)
    y = np.where(is_wrong, rng.integers(max(y) + 1, size=len(y)), y)
    return (x, y), test


def run(name, hp, data, options):
    """Trains with one configuration, and tests what is left."""
    (x, y), test = data
    keras.utils.set_random_seed(options.seed)
    num_classes = int(max(y)) + 1
    network = kx.tuner.spaces.mlp(
        x.shape[1:],
        num_classes,
        depth=TASKS[name]["depth"],
        width=64,
        normalization=TASKS[name]["normalization"],
        dropout="none",
    )
    steps = options.epochs * math.ceil(len(x) / BATCH_SIZE)
    hypermodel = kx.tuner.SpaceModel(
        network,
        space(steps),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=8,
    )
    model = hypermodel.build(hp)
    hypermodel.fit(
        hp,
        model,
        x,
        y,
        batch_size=BATCH_SIZE,
        epochs=options.epochs,
        callbacks=[keras.callbacks.TerminateOnNaN()],
        verbose=0,
    )
    loss, accuracy = model.evaluate(*test, batch_size=1024, verbose=0)
    return {
        "task": name,
        "loss": loss if math.isfinite(loss) else None,
        "accuracy": accuracy,
        "chance": math.log(num_classes),
        "values": {n.rpartition("/")[2]: v for n, v in hp.values.items()},
    }


def costs_of(runs):
    """Losses, none worse than chance."""
    found = [math.inf if run["loss"] is None else run["loss"] for run in runs]
    return np.minimum(found, [run["chance"] for run in runs])


def expected_best(costs, count=BEST_OF):
    """The mean of the least of so many that are drawn, with putting back."""
    ordered, n = np.sort(costs), len(costs)
    above = (1 - np.arange(n + 1) / n) ** count
    return float(ordered @ (above[:-1] - above[1:]))


def with_interval(costs, seed=0):
    rng = np.random.default_rng(seed)
    samples = rng.integers(len(costs), size=(2000, len(costs)))
    low, high = np.quantile(
        [expected_best(costs[row]) for row in samples], [0.025, 0.975]
    )
    return expected_best(costs), float(low), float(high)


def summarize(runs):
    """For each choice and value, what the configurations with it have reached."""
    rows = []
    for choice in CHOICES:
        for value in dict.fromkeys(sorted(r["values"][choice] for r in runs)):
            those = [run for run in runs if run["values"][choice] == value]
            costs = costs_of(those)
            best, low, high = with_interval(costs)
            rows.append(
                {
                    "choice": choice,
                    "value": value,
                    "count": len(costs),
                    "failed": float(np.mean(costs >= those[0]["chance"])),
                    "median": float(np.median(costs)),
                    "best": best,
                    "low": low,
                    "high": high,
                }
            )
    return rows


def show(name, runs):
    print(f"\n{name}: {len(runs)} configurations")
    print(
        f"  {'choice':12}{'value':16}{'count':>6}{'failed':>8}{'median':>9}"
        f"{f'best of {BEST_OF}':>12}{'95 %':>18}"
    )
    for row in summarize(runs):
        print(
            f"  {row['choice']:12}{row['value']:16}{row['count']:>6}"
            f"{row['failed']:>8.0%}{row['median']:>9.3f}{row['best']:>12.3f}"
            f"{row['low']:>10.3f} - {row['high']:.3f}"
        )
    for i in np.argsort(costs_of(runs))[:5]:
        values = runs[i]["values"]
        words = ", ".join(str(values[choice]) for choice in CHOICES)
        rate = values["learning_rate"]
        reached = f"loss {runs[i]['loss']:.3f}, accuracy {runs[i]['accuracy']:.1%}"
        print(f"  {reached}: {words}, {rate:.2g} times the usual rate")


def show_common(results):
    names = list(dict.fromkeys(run["task"] for run in results))
    for a, b in itertools.combinations(names, 2):
        costs = [costs_of([r for r in results if r["task"] == t]) for t in (a, b)]
        print(f"  {a} and {b}: rank correlation {stats.spearmanr(*costs)[0]:.2f}")


def plot(results, path):
    """What a search of ten within each choice is expected to find."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(run["task"] for run in results))
    figure, axes = plt.subplots(
        1, len(names), figsize=(1.5 + 2.3 * len(names), 4), sharey=True, squeeze=False
    )
    for ax, name in zip(axes[0], names, strict=True):
        rows = summarize([run for run in results if run["task"] == name])
        for place, row in enumerate(rows):
            color = f"C{CHOICES.index(row['choice'])}"
            ax.plot([row["low"], row["high"]], [place, place], color=color)
            ax.plot(row["best"], place, "o", color=color, markersize=4)
        labels = [f"{row['choice']}: {row['value']}" for row in rows]
        ax.set_yticks(range(len(rows)), labels, fontsize=8)
        ax.set_title(name, fontsize=9)
        ax.set_xlabel(f"test loss, best of {BEST_OF} drawn", fontsize=8)
    axes[0][0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=150)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="digits,deep,noisy,few,cancer")
    parser.add_argument("--data")
    parser.add_argument("--json")
    parser.add_argument("--plot")
    options = parser.parse_args()
    results = []
    for name in options.only.split(","):
        data = data_of(name, options.data)
        found = []
        for hp in drawn(options.trials, options.seed):
            keras.backend.clear_session()
            found.append(run(name, hp, data, options))
            if options.json:
                Path(options.json).write_text(json.dumps(results + found))
        results += found
        show(name, found)
    print("\nWhat the tasks have in common")
    show_common(results)
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
