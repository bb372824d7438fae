"""Can a policy that was learned on small tasks move the learning rate of others?

The policy sees, every so many updates, what the loss on fixed rows has done, and
answers by how much to multiply the learning rate: a network of six hidden units. It is
trained by evolution strategies (antithetic, with ranks as rewards) on tasks that are
drawn: noisy quadratics, softmax regressions and perceptrons, trained by SGD with
momentum or by Adam, from a rate between a hundredth and thirty times the best constant
one. A step that makes the loss double is taken back, whoever moves the rate.

It is tried on tasks that it has not seen: others that are drawn, and real data, for
perceptrons and softmax regressions. Printed is the final loss on training
data, relative to that with the best of nine constant rates for the same task, the
geometric mean with a 95 % interval: of the policy, of the rate that is left alone, and
of `HypergradientLearningRate`'s rule.

Run: `python benchmarks/studies/reinforced_learning_rate.py [--generations 150]
[--policy FILE]`. With `--policy` the policy is written to that file.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from sklearn import datasets

from benchmarks._intervals import half_interval
from keras_ext.callbacks.schedules._rate_policy import HIDDEN, SIZE, Seen, rate_policy

DECISIONS, EVERY = 30, 8
BATCH, ROWS = 32, 256
PAIRS, TASKS, SPREAD, STEP = 8, 8, 0.3, 0.3
OFF = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


class Quadratic:
    """A bowl of some condition, with noise in its gradient."""

    def __init__(self, rng):
        self.curvature = np.exp(rng.uniform(np.log(1e-3), 0.0, 20))
        self.noise = rng.choice([0.01, 0.1])
        self.start = rng.normal(size=20)

    def begin(self, count, rng):
        del rng
        return [np.tile(self.start, (count, 1))]

    def gradients(self, weights, rng):
        drawn = self.noise * rng.normal(size=20)
        return [self.curvature * weights[0] + drawn]

    def losses(self, weights):
        return 0.5 * (self.curvature * weights[0] ** 2).sum(-1) + 1e-4


class Network:
    """Softmax regression, or a perceptron; many at once, on the same batches."""

    def __init__(self, x, y, classes, hidden):
        self.x, self.y, self.classes = np.float64(x), y, classes
        self.sizes = [x.shape[1], *hidden, classes or 1]

    def begin(self, count, rng):
        made = []
        for a, b in zip(self.sizes, self.sizes[1:], strict=False):
            kernel = rng.normal(size=(a, b)) * a**-0.5
            made += [np.tile(kernel, (count, 1, 1)), np.zeros((count, 1, b))]
        return made

    def outputs(self, weights, x):
        kept = [x]
        for i in range(0, len(weights), 2):
            z = kept[-1] @ weights[i] + weights[i + 1]
            kept.append(np.tanh(z) if i < len(weights) - 2 else z)
        return kept

    def loss_and_error(self, z, y):
        if not self.classes:
            return ((z - y) ** 2).mean((1, 2)), 2 * (z - y) / len(y)
        z = z - z.max(-1, keepdims=True)
        log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
        rows = np.arange(len(y))
        error = np.exp(log_p)
        error[:, rows, y] -= 1
        return -log_p[:, rows, y].mean(-1), error / len(y)

    def gradients(self, weights, rng):
        some = rng.integers(0, len(self.x), BATCH)
        kept = self.outputs(weights, self.x[some])
        _, error = self.loss_and_error(kept[-1], self.y[some])
        found = []
        for i in reversed(range(0, len(weights), 2)):
            before = kept[i // 2]
            found += [error.sum(1, keepdims=True), np.swapaxes(before, -1, -2) @ error]
            if i:
                error = error @ np.swapaxes(weights[i], -1, -2) * (1 - before**2)
        return found[::-1]

    def losses(self, weights):
        z = self.outputs(weights, self.x[:ROWS])[-1]
        return self.loss_and_error(z, self.y[:ROWS])[0]


def drawn_task(rng):
    kind = rng.integers(3)
    if kind == 0:
        return Quadratic(rng)
    x = rng.normal(size=(512, 10)) * np.exp(rng.normal(size=10) * 0.7)
    z = np.tanh(x @ rng.normal(size=(10, 6))) @ rng.normal(size=(6, 3))
    if kind == 1:
        labels = (z + 0.5 * rng.normal(size=z.shape)).argmax(-1)
        return Network(x, labels, 3, [])
    return Network(x, z[:, :1] + 0.1 * rng.normal(size=(512, 1)), 0, [16])


def real_tasks():
    found = {}
    for name, hidden in (
        ("digits", [32]),
        ("digits", []),
        ("wine", [16]),
        ("breast_cancer", []),
        ("diabetes", [16]),
    ):
        x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        x = (x - x.mean(0)) / (x.std(0) + 1e-6)
        order = np.random.default_rng(0).permutation(len(x))
        classes = 0 if name == "diabetes" else int(y.max()) + 1
        if not classes:
            y = ((y - y.mean()) / y.std())[:, None]
        kind = "perceptron" if hidden else "softmax"
        found[f"{name}, {kind}"] = Network(x[order], y[order], classes, hidden)
    return found


class Inner:
    """SGD with momentum, or Adam, with a rate for each of many."""

    def __init__(self, weights, is_adam):
        self.is_adam, self.count = is_adam, 0
        self.first = [np.zeros_like(w) for w in weights]
        self.second = [np.zeros_like(w) for w in weights]

    def moves(self, gradients):
        self.count += 1
        share = 0.1 if self.is_adam else 1.0
        for m, v, g in zip(self.first, self.second, gradients, strict=True):
            m *= 0.9
            m += share * g
            v *= 0.999
            v += 0.001 * g * g
        if not self.is_adam:
            return self.first
        scale = (1 - 0.999**self.count) ** 0.5 / (1 - 0.9**self.count)
        pairs = zip(self.first, self.second, strict=True)
        return [scale * m / (np.sqrt(v) + 1e-8) for m, v in pairs]

    def arrays(self):
        return [*self.first, *self.second]


def shaped(values, like):
    return values.reshape(-1, *[1] * (like.ndim - 1))


def rollout(task, is_adam, rates, move, seed, every_update=None):
    """The final losses from some rates, moved by a policy.

    Args:
        task: The task.
        is_adam: With Adam, or else with SGD and momentum.
        rates: One for each copy of the task.
        move: From features, a row for each, to changes of the logarithm of the rate.
        seed: Of first weights and batches.
        every_update: Changes rates in every update, from gradients and the last moves.
    """
    rng = np.random.default_rng(seed)
    count = len(rates)
    weights = task.begin(count, rng)
    inner = Inner(weights, is_adam)
    logs, first = np.log(rates), np.log(rates)
    loss = np.log(task.losses(weights))
    seen = Seen(loss)
    last = None
    with np.errstate(all="ignore"):
        for _ in range(DECISIONS):
            kept = [a.copy() for a in (*weights, *inner.arrays())]
            for _ in range(EVERY):
                gradients = task.gradients(weights, rng)
                if every_update and last is not None:
                    change = every_update(gradients, last)
                    logs = np.clip(logs + change, first - 6.9, first + 6.9)
                moves = inner.moves(gradients)
                last = [-shaped(np.exp(logs), m) * m for m in moves]
                for w, m in zip(weights, last, strict=True):
                    w += m
            new = np.log(task.losses(weights))
            burst = ~(new < loss + np.log(2.0))
            for a, old in zip((*weights, *inner.arrays()), kept, strict=True):
                a[burst] = old[burst]
            change = move(
                seen.features(np.where(burst, loss, new), burst, logs - first)
            )
            logs = np.where(burst, logs - np.log(4.0), logs + change)
            loss = np.where(burst, loss, new)
    return loss


def stays(features):
    return np.zeros(len(features))


def hypergradient(gradients, last):
    axes = [tuple(range(1, g.ndim)) for g in gradients]
    triples = list(zip(gradients, last, axes, strict=True))
    dot = sum(-(g * m).sum(a) for g, m, a in triples)
    size = sum((g * g).sum(a) for g, _, a in triples)
    length = sum((m * m).sum(a) for _, m, a in triples)
    return np.log1p(0.02 * dot / (np.sqrt(size * length) + 1e-30))


def tuned(task, is_adam, seed):
    """The best of nine constant rates, and its loss."""
    middle = 3e-3 if is_adam else 3e-2
    rates = middle * 10 ** np.linspace(-2, 2, 9)
    losses = rollout(task, is_adam, rates, stays, seed)
    best = int(np.nanargmin(losses))
    return rates[best], losses[best]


def evolve(generations):
    """The parameters of a policy."""
    rng = np.random.default_rng(0)
    mean, velocity = 0.1 * rng.normal(size=SIZE), np.zeros(SIZE)
    for generation in range(generations):
        noise = rng.normal(size=(PAIRS, SIZE))
        signs = np.concatenate([noise, -noise])
        move = rate_policy(mean + SPREAD * signs)
        reward, gained = np.zeros(2 * PAIRS), []
        for _ in range(TASKS):
            task, is_adam = drawn_task(rng), bool(rng.integers(2))
            seed = int(rng.integers(2**31))
            rate, best = tuned(task, is_adam, seed)
            off = np.exp(rng.uniform(np.log(0.01), np.log(30.0)))
            rates = np.full(2 * PAIRS, rate * off)
            losses = rollout(task, is_adam, rates, move, seed)
            gained.append(np.mean(losses - best))
            reward -= np.argsort(np.argsort(losses)) / (2 * PAIRS - 1) - 0.5
        gradient = reward @ signs / (2 * PAIRS * TASKS)
        velocity = 0.9 * velocity + gradient
        mean = mean + STEP * velocity
        if generation % 25 == 24:
            print(f"generation {generation + 1}: {np.mean(gained):.3f}", flush=True)
    return mean


def compare(tasks, parameters):
    """For each way to move rates, the final losses relative to the tuned ones."""
    found = {}
    ways = {
        "left alone": (stays, None),
        "hypergradient": (stays, hypergradient),
        "policy": (rate_policy(parameters), None),
    }
    for number, (name, task) in enumerate(tasks):
        for is_adam in (False, True):
            seed = 1000 + number
            rate, best = tuned(task, is_adam, seed)
            rates = rate * np.array(OFF)
            for way, (move, every) in ways.items():
                losses = rollout(task, is_adam, rates, move, seed, every)
                found.setdefault((name, way), []).append(losses - best)
    return {key: np.array(values) for key, values in found.items()}


def show(found):
    print(f"| task | rate | {' | '.join(f'x {f:g}' for f in OFF)} | all |")
    print("|---" * (len(OFF) + 3) + "|")
    for (name, way), values in found.items():
        cells = [f"{v:.2f}" for v in np.exp(values.mean(0))]
        means = values.mean(1)
        half = half_interval(means)
        cells.append(f"{np.exp(means.mean()):.2f} (x / {np.exp(half):.2f})")
        print(f"| {name} | {way} | {' | '.join(cells)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--generations", type=int, default=150)
    parser.add_argument("--policy", type=Path)
    options = parser.parse_args()
    parameters = evolve(options.generations)
    if options.policy:
        rounded = [round(float(p), 4) for p in parameters]
        options.policy.write_text(json.dumps({"hidden": HIDDEN, "weights": rounded}))
    rng = np.random.default_rng(99)
    drawn = [("drawn", drawn_task(rng)) for _ in range(16)]
    real = list(real_tasks().items())
    show(compare(drawn, parameters))
    found = compare(real, parameters)
    show(found)
    together = {}
    for (_, way), values in found.items():
        together.setdefault(("real data", way), []).extend(values)
    show({key: np.array(values) for key, values in together.items()})


if __name__ == "__main__":
    main()
