"""Does a stopping rule that was learned from curves beat patience?

The bank: trainings of perceptrons in NumPy, by Adam or by SGD with momentum, on eight
sets of data, of which five come with scikit-learn and three are drawn; with numbers of
rows, widths, learning rates, batches, decay and shares of wrong labels at random.

When to stop is a problem of optimal stopping: after each epoch either end, with the
best weights so far, or pay `cost` for another one. What is paid and won is in units of
the logarithm of the validation loss. How much going on is worth is fitted, as in
Longstaff and Schwartz, to features of the curve so far: ridge regression on their
products, improved five times by what the rule itself would have won.

The data that it is tried on are never those that it was fitted on: one set is left
out after the other. Printed is, for the rule at several costs, for patience and for
`LearningCurveEarlyStopping`, how many epochs are trained, and by how much the test loss
with the best weights at the stop exceeds that with the best of all epochs, in percent,
with 95 % intervals over curves; then the same for the cost, loss and epochs together.

Run: `python benchmarks/studies/learned_stopping.py [--runs 60] [--epochs 60]
[--curves FILE]`; the file keeps the bank.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn import datasets

from benchmarks._intervals import half_interval
from keras_ext.controllers.stopping._learning_curve import improvement_probability

COSTS = (0.001, 0.003, 0.01)
PATIENCES = (2, 3, 5, 7, 10, 15, 20)
FEWEST = 4
RIDGE = 3.0


def bank_data():
    """From name to rows, targets, and the number of classes, 0 for regression."""
    found = {}
    for name in ("digits", "wine", "breast_cancer", "iris"):
        x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        found[name] = x, y, int(y.max()) + 1
    found["diabetes"] = *datasets.load_diabetes(return_X_y=True), 0
    found["moons"] = *datasets.make_moons(1500, noise=0.3, random_state=0), 2
    found["friedman"] = *datasets.make_friedman1(1500, noise=1.0, random_state=0), 0
    drawn = datasets.make_classification(
        1500, 40, n_informative=8, n_classes=5, flip_y=0.1, random_state=0
    )
    found["drawn"] = *drawn, 5
    return {name: standardized(*given) for name, given in found.items()}


def standardized(x, y, classes):
    x = (x - x.mean(0)) / (x.std(0) + 1e-6)
    if not classes:
        y = ((y - y.mean()) / y.std())[:, None]
    return x.astype("float32"), y, classes


class Perceptron:
    """One hidden layer or two of ReLUs, with its gradient."""

    def __init__(self, sizes, rng):
        self.weights = [
            np.float32(rng.normal(size=(a, b)) * (2 / a) ** 0.5)
            for a, b in zip(sizes, sizes[1:], strict=False)
        ]
        self.weights += [np.zeros(b, "float32") for b in sizes[1:]]
        self.depth = len(sizes) - 1

    def outputs(self, x):
        kept = [x]
        for i in range(self.depth):
            x = kept[-1] @ self.weights[i] + self.weights[self.depth + i]
            kept.append(np.maximum(x, 0) if i < self.depth - 1 else x)
        return kept

    def loss_and_error(self, z, y, classes):
        if not classes:
            return np.mean((z - y) ** 2), 2 * (z - y) / z.size
        z = z - z.max(1, keepdims=True)
        log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
        rows = np.arange(len(y))
        error = np.exp(log_p)
        error[rows, y] -= 1
        return -log_p[rows, y].mean(), error / len(y)

    def gradients(self, x, y, classes):
        kept = self.outputs(x)
        _, error = self.loss_and_error(kept[-1], y, classes)
        kernels, biases = [], []
        for i in reversed(range(self.depth)):
            kernels.append(kept[i].T @ error)
            biases.append(error.sum(0))
            error = error @ self.weights[i].T * (kept[i] > 0)
        return kernels[::-1] + biases[::-1]

    def loss(self, x, y, classes):
        return float(self.loss_and_error(self.outputs(x)[-1], y, classes)[0])


def training(data, epochs, rng):
    """Losses on training, validation and test data after each epoch."""
    x, y, classes = data
    order = rng.permutation(len(x))
    rows = int(min(len(x) * 0.6, np.exp(rng.uniform(np.log(60), np.log(500)))))
    held = max(20, min(rows // 3, (len(x) - rows) // 2))
    parts = np.split(order, [rows, rows + held])
    train, validation, test = ((x[p], y[p]) for p in parts)
    train = (train[0], with_wrong_labels(train[1], classes, rng))
    width = int(2 ** rng.uniform(3, 7))
    hidden = [width] * int(rng.integers(1, 3))
    model = Perceptron([x.shape[1], *hidden, classes or 1], rng)
    step = optimizer(model.weights, rng)
    batch = int(rng.choice([16, 32, 64]))
    losses = []
    for _ in range(epochs):
        order = rng.permutation(rows)
        for begin in range(0, rows - batch + 1, batch):
            some = order[begin : begin + batch]
            step(model.gradients(train[0][some], train[1][some], classes))
        losses.append([model.loss(*p, classes) for p in (train, validation, test)])
    return losses


def with_wrong_labels(y, classes, rng):
    share = rng.choice([0.0, 0.0, 0.1, 0.3])
    wrong = rng.uniform(size=len(y)) < share
    if classes:
        return np.where(wrong, rng.integers(0, classes, len(y)), y)
    return y + np.float32(wrong[:, None] * rng.normal(size=y.shape))


def optimizer(weights, rng):
    decay = rng.choice([0.0, 1e-4, 1e-3])
    first = [np.zeros_like(w) for w in weights]
    second = [np.zeros_like(w) for w in weights]
    is_adam, count = rng.uniform() < 0.5, 0
    low, high = (1e-4, 1e-2) if is_adam else (1e-3, 0.1)
    rate = np.exp(rng.uniform(np.log(low), np.log(high)))

    def step(gradients):
        nonlocal count
        count += 1
        for w, g, m, v in zip(weights, gradients, first, second, strict=True):
            g = g + decay * w
            m *= 0.9
            m += 0.1 * g if is_adam else g
            if not is_adam:
                w -= rate * m
                continue
            v *= 0.999
            v += 0.001 * g * g
            scale = (1 - 0.999**count) ** 0.5 / (1 - 0.9**count)
            w -= rate * scale * m / (np.sqrt(v) + 1e-8)

    return step


def make_bank(runs, epochs):
    """From name of the data to an array: runs, epochs, and three losses."""
    bank = {}
    for name, data in bank_data().items():
        rng = np.random.default_rng(sum(map(ord, name)))
        found = [training(data, epochs, rng) for _ in range(runs)]
        # What diverges needs no rule to be stopped.
        bank[name] = np.array([f for f in found if np.isfinite(f).all()])
        print(name, bank[name].shape, flush=True)
    return bank


def features(losses, total):
    """What is seen of a curve after each epoch but the first few."""
    train, validation = np.log(np.maximum(losses[:, :2].T, 1e-6))
    rows = []
    for n in range(FEWEST, len(losses) + 1):
        v, t = validation[:n], train[:n]
        best = int(np.argmin(v))
        noise = np.std(np.diff(v[-8:])) if n > 2 else 0.0
        rows.append(
            [
                v[-1] - v[best],
                v[0] - v[best],
                slope(v[-3:]),
                slope(v[-8:]),
                slope(t[-3:]),
                np.clip(v[-1] - t[-1], -3, 3),
                np.log1p(n - 1 - best),
                np.log1p(noise * 10),
                np.log(n),
                n / total,
                np.min(v[-3:]) - np.min(v[:-3]),
            ]
        )
    return np.array(rows)


def slope(values):
    steps = np.arange(len(values)) - (len(values) - 1) / 2
    return float(steps @ values / (steps @ steps)) * len(values)


def products(x):
    """The features, their products, and 1."""
    i, j = np.triu_indices(x.shape[1])
    return np.concatenate([np.ones((len(x), 1)), x, x[:, i] * x[:, j]], axis=1)


class Rule:
    """How much it is worth to go on, fitted to curves."""

    def __init__(self, curves, cost, epochs):
        seen = [features(c, epochs) for c in curves]
        pooled = np.concatenate(seen)
        self.mean, self.scale = pooled.mean(0), pooled.std(0) + 1e-9
        self.epochs = epochs
        designs = [products(self.standard(x)) for x in seen]
        bests = [np.minimum.accumulate(np.log(c[:, 1]))[FEWEST - 1 :] for c in curves]
        stacked = np.concatenate(designs)
        gram = stacked.T @ stacked + RIDGE * np.eye(stacked.shape[1])
        worth = [hindsight(b, cost) for b in bests]
        for _ in range(5):
            target = stacked.T @ np.concatenate(worth)
            self.weights = np.linalg.solve(gram, target)
            goes_on = [d @ self.weights > 0 for d in designs]
            worth = [won(b, g, cost) for b, g in zip(bests, goes_on, strict=True)]

    def standard(self, x):
        return np.clip((x - self.mean) / self.scale, -4, 4)

    def stop(self, curve):
        """The last epoch, from 0."""
        values = products(self.standard(features(curve, self.epochs))) @ self.weights
        return first(values <= 0, len(curve), FEWEST - 1)


def hindsight(best, cost):
    """What going on is worth to who knows the future, after each epoch."""
    value, worth = 0.0, np.zeros(len(best))
    for n in reversed(range(len(best) - 1)):
        worth[n] = best[n] - best[n + 1] - cost + value
        value = max(worth[n], 0.0)
    return worth


def won(best, goes_on, cost):
    """What going on is worth to who follows the rule from the next epoch on."""
    value, worth = 0.0, np.zeros(len(best))
    for n in reversed(range(len(best) - 1)):
        worth[n] = best[n] - best[n + 1] - cost + value
        value = worth[n] if goes_on[n] else 0.0
    return worth


def first(stops, length, begin):
    found = np.flatnonzero(stops)
    return int(found[0]) + begin if len(found) else length - 1


def patience(curve, epochs):
    best = np.minimum.accumulate(curve[:, 1])
    new = np.r_[True, curve[1:, 1] < best[:-1]]
    since = np.arange(len(curve)) - np.maximum.accumulate(
        np.where(new, np.arange(len(curve)), 0)
    )
    return first(since >= epochs, len(curve), 0)


def extrapolated(curve):
    """`LearningCurveEarlyStopping`: improbable twice in a row."""
    in_a_row = 0
    for n in range(6, len(curve)):
        small = improvement_probability(curve[:n, 1], len(curve)) < 0.05
        in_a_row = in_a_row + 1 if small else 0
        if in_a_row == 2:
            return n - 1
    return len(curve) - 1


def outcome(curve, stop):
    """Epochs, excess of the test loss in logarithms, and that of the validation."""
    whole = int(np.argmin(curve[:, 1]))
    kept = int(np.argmin(curve[: stop + 1, 1]))
    excess = np.log(curve[kept, 2] / curve[whole, 2])
    lost = np.log(curve[kept, 1] / curve[whole, 1])
    return stop + 1, excess, lost


def study(bank, epochs):
    """From rule to outcomes, each of curves that it was not fitted to."""
    found = {}
    for name, curves in bank.items():
        others = [c for other, b in bank.items() if other != name for c in b]
        rules = {f"learned, cost {c}": Rule(others, c, epochs).stop for c in COSTS}
        for p in PATIENCES:
            rules[f"patience {p}"] = lambda curve, p=p: patience(curve, p)
        rules["LearningCurveEarlyStopping"] = extrapolated
        rules["all epochs"] = lambda curve: len(curve) - 1
        for rule, stop in rules.items():
            some = curves[:20] if stop is extrapolated else curves
            found.setdefault(rule, []).extend(
                (name, *outcome(c, stop(c))) for c in some
            )
        print(name, "done", flush=True)
    return found


def show(found):
    print("| rule | epochs | test loss above the best, % |", end="")
    print("".join(f" at cost {c} |" for c in COSTS))
    for rule, rows in found.items():
        used, excess, lost = (np.array([r[i] for r in rows]) for i in (1, 2, 3))
        cells = [f"{used.mean():.1f}"]
        cells.append(f"{100 * excess.mean():.1f} ± {100 * half_interval(excess):.1f}")
        for c in COSTS:
            total = 100 * (lost + c * used)
            cells.append(f"{total.mean():.2f} ± {half_interval(total):.2f}")
        print(f"| {rule} | {' | '.join(cells)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--curves", type=Path)
    options = parser.parse_args()
    if options.curves and options.curves.exists():
        bank = dict(np.load(options.curves))
    else:
        bank = make_bank(options.runs, options.epochs)
        if options.curves:
            np.savez_compressed(options.curves, **bank)
    show(study(bank, options.epochs))


if __name__ == "__main__":
    main()
