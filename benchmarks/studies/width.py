"""How should neurons be spread over layers?

Perceptrons of four hidden layers whose shapes are compared at the same number of
parameters, by `keras_ext.tuner.spaces.mlp`: all layers equally wide, narrower from the
first to the last, wider, narrow in the middle, and wide in the middle; the widest layer
is `--ratio` times as wide as the narrowest. On

- digits: 1,797 images of scikit-learn;
- cancer: 569 rows of 30 features of scikit-learn, two classes;
- teacher: 2,000 rows of 20 normal numbers, labelled by a random network of five
  classes and three layers;
- mnist: the 10,000 test images of MNIST; with `--data` only.

Half of the rows train, a quarter chooses the learning rate (of three) and the epoch,
and a quarter tests. For a seed all shapes see the same split and the same batches.

Printed per data set and shape: the widths and the parameters, the test loss and
accuracy of the epoch with the best validation loss, and by how much the loss is above
that of equal widths, in percent, with the 95 % confidence interval of the differences
over seeds.

Run: `python benchmarks/studies/width.py [--seeds 8] [--budgets 5000,20000]
[--epochs 30] [--ratio 6] [--only digits,cancer,teacher,mnist] [--data DIR]
[--json FILE] [--plot FILE.png]`, where DIR has the IDX files of the test images of
MNIST, gzipped.
"""

import argparse
import json
import math
from functools import cache
from pathlib import Path

import keras
import keras_tuner
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import keras_ext as kx
from benchmarks._data import digits, mnist10k
from benchmarks._intervals import mean_and_interval, regret

SHAPES = ["equal", "decreasing", "increasing", "bottleneck", "diamond"]
RATES = [3e-4, 1e-3, 3e-3]
DEPTH = 4
BATCH_SIZE = 32
TEACHER = {"rows": 2000, "features": 20, "classes": 5, "hidden": 16}


def teacher():
    """Rows whose labels a random network gives, all classes about as often."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(TEACHER["rows"], TEACHER["features"]))
    h = x
    for _ in range(3):
        h = np.maximum(h, 0) if h is not x else h
        h = h @ rng.normal(size=(h.shape[1], TEACHER["hidden"])) * math.sqrt(2)
        h /= math.sqrt(h.shape[1])
    scores = h @ rng.normal(size=(TEACHER["hidden"], TEACHER["classes"]))
    scores -= np.median(scores, axis=0)
    return x.astype("float32"), scores.argmax(axis=1)


def cancer():
    x, y = load_breast_cancer(return_X_y=True)
    return x.astype("float32"), y


@cache
def load(name, folder):
    if name == "mnist":
        return mnist10k(folder)
    return {"digits": digits, "cancer": cancer, "teacher": teacher}[name]()


def parts(name, folder, seed):
    """Rows to train, to choose, and to test, as numbers of mean 0 and deviation 1."""
    x, y = load(name, folder)
    x, x_rest, y, y_rest = train_test_split(
        x, y, train_size=0.5, stratify=y, random_state=seed
    )
    x_choose, x_test, y_choose, y_test = train_test_split(
        x_rest, y_rest, train_size=0.5, stratify=y_rest, random_state=seed
    )
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-3
    scaled = [(part - mean) / deviation for part in (x, x_choose, x_test)]
    return list(zip(scaled, (y, y_choose, y_test), strict=True))


class Trainer:
    """Trains one shape again and again from the start, with one compiled step."""

    def __init__(self, features, classes, shape, budget, options):
        space = kx.tuner.spaces.mlp(
            (features,),
            classes,
            depth=DEPTH,
            widths=shape,
            ratio=options.ratio,
            parameter_budget=budget,
            normalization="none",
            dropout="none",
        )
        hp = keras_tuner.HyperParameters()
        self.model, self.widths = space(hp), space.widths(hp)
        self.epochs = options.epochs
        self.model.compile(
            keras.optimizers.Adam(),
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
        rng = np.random.default_rng(seed)
        for v in self.model.trainable_variables:
            std = 0.0 if len(v.shape) == 1 else math.sqrt(2 / v.shape[0])
            v.assign(std * rng.normal(size=v.shape))
        variables = self.model.optimizer.variables
        for v, value in zip(variables, self.fresh, strict=True):
            v.assign(value)
        self.model.optimizer.learning_rate = rate

    def run(self, seed, rate, data):
        self.restart(seed, rate)
        train, choose, test = data
        tested = _Tested(*test)
        history = self.model.fit(
            *train,
            batch_size=BATCH_SIZE,
            epochs=self.epochs,
            validation_data=choose,
            validation_batch_size=1024,
            callbacks=[tested],
            verbose=0,
        ).history
        best = int(np.argmin(history["val_loss"]))
        loss, accuracy = tested.found[best]
        return {
            "rate": rate,
            "validation": float(history["val_loss"][best]),
            "loss": loss,
            "accuracy": accuracy,
        }


class _Tested(keras.callbacks.Callback):
    """Tests after each epoch, also those that are not chosen in the end."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y, self.found = x, y, []

    def on_epoch_end(self, epoch, logs=None):
        logits = np.asarray(self.model(self.x, training=False), "float64")
        top = logits.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
        losses = log_sum - logits[np.arange(len(self.y)), self.y]
        right = float((logits.argmax(axis=1) == self.y).mean())
        self.found.append((float(losses.mean()), right))


def study(name, budget, options):
    """A row for each shape, with the results of all seeds."""
    x, y = load(name, options.data)
    features, classes = math.prod(x.shape[1:]), int(y.max()) + 1
    data = [parts(name, options.data, seed) for seed in range(options.seeds)]
    rows = []
    for shape in SHAPES:
        trainer = Trainer(features, classes, shape, budget, options)
        chosen = []
        for seed in range(options.seeds):
            runs = [trainer.run(seed, rate, data[seed]) for rate in RATES]
            chosen.append(min(runs, key=lambda run: run["validation"]))
        rows.append(
            {
                "data": name,
                "budget": budget,
                "shape": shape,
                "widths": trainer.widths,
                "parameters": trainer.model.count_params(),
                "runs": chosen,
            }
        )
        show(rows[0], rows[-1])
    return rows


def losses(row):
    return [run["loss"] for run in row["runs"]]


def show(equal, row):
    above, interval = regret(losses(row), losses(equal))
    percent = [100 * run["accuracy"] for run in row["runs"]]
    versus = "" if row is equal else f"{above:+.1f} ± {interval:.1f}"
    print(
        f"  {row['shape']:12}{row['widths']!s:24}{row['parameters']:>8,}"
        f"{mean_and_interval(losses(row), 3):>18}{mean_and_interval(percent, 1):>16}"
        f"{versus:>18}",
        flush=True,
    )


def plot(results, path):
    """By how much each shape is above equal widths, with its interval."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    cases = list(dict.fromkeys((r["data"], r["budget"]) for r in results))
    figure, axes = plt.subplots(
        1, len(cases), figsize=(1 + 2.1 * len(cases), 2.6), sharey=True, squeeze=False
    )
    for ax, case in zip(axes[0], cases, strict=True):
        rows = {r["shape"]: r for r in results if (r["data"], r["budget"]) == case}
        for place, shape in enumerate(SHAPES[1:]):
            above, half = regret(losses(rows[shape]), losses(rows["equal"]))
            ax.errorbar(above, place, xerr=half, fmt="o", color="C0", capsize=3)
        ax.axvline(0, color="0.6", linewidth=1)
        ax.set_title(f"{case[0]}, {case[1]:,}", fontsize=9)
        ax.set_xlabel("test loss above equal, %", fontsize=8)
        ax.set_yticks(range(len(SHAPES) - 1), SHAPES[1:], fontsize=8)
    axes[0][0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--budgets", default="5000,20000")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--ratio", type=float, default=6.0)
    parser.add_argument("--only", default="digits,cancer,teacher")
    parser.add_argument("--data")
    parser.add_argument("--json")
    parser.add_argument("--plot")
    options = parser.parse_args()
    results = []
    for name in options.only.split(","):
        for budget in map(int, options.budgets.split(",")):
            print(f"\n{name}, {budget:,} parameters at most")
            print(
                f"  {'shape':12}{'widths':24}{'in all':>8}{'test loss':>18}"
                f"{'accuracy, %':>16}{'above equal, %':>18}"
            )
            results += study(name, budget, options)
            if options.json:
                Path(options.json).write_text(json.dumps(results))
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
