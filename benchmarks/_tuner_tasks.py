"""What the benchmark of searches searches: functions, and a network in NumPy.

The network trains an epoch in milliseconds, so that many seeds of whole searches are
affordable; what a search costs beyond that is measured with real models elsewhere.
"""

import math

import keras_tuner
import numpy as np

from benchmarks._data import digits, mnist10k, train_validation_test


class Spent(BaseException):
    """The budget is spent: no `Exception`, which a tuner would take for a failure."""


def branin(v):
    """Two numbers; the least value is 0.3979."""
    x, y = v["x0"], v["x1"]
    curve = y - 5.1 * x**2 / (4 * math.pi**2) + 5 * x / math.pi - 6
    return curve**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


_ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
_A = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def hartmann6(v):
    """Six numbers; the least value is -3.3224."""
    x = np.array([v[f"x{i}"] for i in range(6)])
    return -float(_ALPHA @ np.exp(-(_A * (x - _P) ** 2).sum(axis=1)))


def mixed(v):
    """Nine hyperparameters as of a network, three of them under conditions."""
    best = {"sgd": 0.0, "adam": 0.3, "lion": -0.2}[v["family"]]
    loss = 0.1 + 0.25 * (math.log10(v["rate"]) + 2 - best) ** 2
    loss += {"sgd": 0.05, "adam": 0.0, "lion": 0.03}[v["family"]]
    loss += 0.4 * (v.get("momentum", 0.9) - 0.9) ** 2
    loss += 0.1 * (math.log10(1 - v.get("beta", 0.99)) + 2) ** 2
    loss += 0.05 * (math.log2(v["width"]) - 7 + 0.5 * (v["depth"] - 3)) ** 2 / 4
    loss += 0.3 * (v["dropout"] - 0.05 * v["depth"]) ** 2
    loss += {"none": 0.05 * (v["depth"] > 3), "batch": 0.0, "layer": 0.01}[v["norm"]]
    if v["norm"] == "batch":
        loss += 0.02 * (math.log2(v.get("batch", 64)) - 6) ** 2
    return loss


def space_of(name):
    """The hyperparameters of a function."""
    hp = keras_tuner.HyperParameters()
    if name == "branin":
        hp.Float("x0", -5.0, 10.0)
        hp.Float("x1", 0.0, 15.0)
    elif name == "hartmann6":
        for i in range(6):
            hp.Float(f"x{i}", 0.0, 1.0)
    else:
        hp.Int("depth", 1, 6)
        hp.Int("width", 8, 512, sampling="log")
        hp.Float("rate", 1e-4, 1.0, sampling="log")
        hp.Float("dropout", 0.0, 0.6)
        hp.Choice("norm", ["none", "batch", "layer"])
        with hp.conditional_scope("norm", ["batch"]):
            hp.Int("batch", 8, 512, sampling="log")
        hp.Choice("family", ["sgd", "adam", "lion"])
        with hp.conditional_scope("family", ["sgd"]):
            hp.Float("momentum", 0.0, 0.99)
        with hp.conditional_scope("family", ["adam"]):
            hp.Float("beta", 0.9, 0.999)
    return hp


FUNCTIONS = {"branin": branin, "hartmann6": hartmann6, "mixed": mixed}


def data(name, folder=None):
    """Inputs and labels to train with, and to judge by."""
    if name == "digits":
        x, y = digits()
    else:
        images, y = mnist10k(folder, (14, 2, 14, 2))
        x = images.mean((2, 4)).reshape(-1, 196)[:5000]
        y = y[:5000].astype(int)
    train, held_out, _ = train_validation_test(x, y)
    return (*train, *held_out)


def network_space():
    """Ten hyperparameters of a network and its training."""
    hp = keras_tuner.HyperParameters()
    hp.Int("depth", 1, 4)
    hp.Int("width", 8, 128, sampling="log")
    hp.Choice("shape", ["equal", "decreasing", "increasing"])
    hp.Choice("activation", ["relu", "tanh"])
    hp.Float("scale", 0.3, 3.0, sampling="log")
    hp.Choice("batch", [16, 32, 64, 128], ordered=True)
    hp.Float("decay", 1e-6, 1e-1, sampling="log")
    hp.Choice("optimizer", ["sgd", "adam", "rmsprop"])
    hp.Float("rate", 1e-2, 1e2, sampling="log")  # times what is usual
    with hp.conditional_scope("optimizer", ["sgd"]):
        hp.Float("momentum", 0.0, 0.99)
    return hp


_USUAL = {"sgd": 0.05, "adam": 0.002, "rmsprop": 0.001}
_RATIO = {"equal": 0.0, "decreasing": -1.0, "increasing": 1.0}


class Network:
    """A perceptron in NumPy that is trained epoch by epoch."""

    def __init__(self, values, sets, seed):
        self.v, self.sets = values, sets
        self.rng = np.random.default_rng(seed)
        depth, width = values["depth"], values["width"]
        power = _RATIO[values["shape"]] * (np.arange(depth) / max(depth - 1, 1) - 0.5)
        widths = [max(4, int(width * 4.0**p)) for p in power]
        sizes = [sets[0].shape[1], *widths, int(sets[1].max()) + 1]
        self.weights = []
        for n, m in zip(sizes[:-1], sizes[1:], strict=True):
            spread = values["scale"] * math.sqrt(2 / n)
            self.weights += [self.rng.normal(0, spread, (n, m)), np.zeros(m)]
        self.forget()

    def forget(self):
        """Begins with a new optimizer, as what is promoted by KerasTuner does."""
        self.first = [np.zeros_like(w) for w in self.weights]
        self.second = [np.zeros_like(w) for w in self.weights]
        self.steps = 0

    def epoch(self):
        """Trains an epoch, and returns the loss on what is held out."""
        x, y, _, _ = self.sets
        order = self.rng.permutation(len(x))
        with np.errstate(all="ignore"):
            for i in range(0, len(x) - self.v["batch"] + 1, self.v["batch"]):
                rows = order[i : i + self.v["batch"]]
                self._update(self._gradients(x[rows], y[rows]))
            return self._loss()

    def _activated(self, z):
        return np.maximum(z, 0) if self.v["activation"] == "relu" else np.tanh(z)

    def _forward(self, x):
        seen = [x]
        for k in range(0, len(self.weights), 2):
            z = seen[-1] @ self.weights[k] + self.weights[k + 1]
            seen.append(z if k + 2 == len(self.weights) else self._activated(z))
        z = seen.pop()
        z = z - z.max(axis=1, keepdims=True)
        return seen, z - np.log(np.exp(z).sum(axis=1, keepdims=True))

    def _loss(self):
        _, _, x, y = self.sets
        found = -float(self._forward(x)[1][np.arange(len(y)), y].mean())
        return found if math.isfinite(found) else 1e3

    def _gradients(self, x, y):
        seen, logs = self._forward(x)
        flow = np.exp(logs)
        flow[np.arange(len(y)), y] -= 1
        flow /= len(y)
        found = []
        for k in range(len(self.weights) - 2, -1, -2):
            below = seen[k // 2]
            found = [below.T @ flow, flow.sum(axis=0), *found]
            if k:
                flow = flow @ self.weights[k].T
                relu = self.v["activation"] == "relu"
                flow = flow * ((below > 0) if relu else 1 - below**2)
        return found

    def _update(self, gradients):
        self.steps += 1
        kind = self.v["optimizer"]
        rate = _USUAL[kind] * self.v["rate"]
        for w, g, m, s in zip(
            self.weights, gradients, self.first, self.second, strict=True
        ):
            if kind == "sgd":
                m *= self.v["momentum"]
                m += g
                step = m
            elif kind == "adam":
                m += 0.1 * (g - m)
                s += 0.001 * (g * g - s)
                scale = math.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps)
                step = scale * m / (np.sqrt(s) + 1e-7)
            else:
                s += 0.1 * (g * g - s)
                step = g / (np.sqrt(s) + 1e-7)
            w -= rate * (step + self.v["decay"] * w)
