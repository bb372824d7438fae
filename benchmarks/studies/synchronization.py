"""How do synchronous, local and asynchronous updates change generalization?

Eight workers with a batch of 16 each train a perceptron, by SGD with momentum 0.9 and
a learning rate that is divided by 10 after half of the training, on the digits of
scikit-learn or on the 10,000 test images of MNIST:

- synchronously, one update for each 128 samples, or, at eight times the
  communication, one for each 16;
- by local updates, averaged every 4, 16 or 64 steps, also with the momentum; averaged
  only after the decay (post-local); or tied to a center (elastic averaging);
- asynchronously, one update for each 16 samples with a gradient that is 4 or 16
  updates old; also without momentum.

All see the same samples. For each way the learning rate with the lowest mean loss on
the validation data is taken, from a grid that is the same for all. Printed are, as
means with 95 % confidence intervals over the seeds, the loss on the training data, the
loss and the accuracy on the test data, the difference of the test loss to synchronous
training with 128 samples, seed by seed; and how often a worker sends its weights or a
gradient.

On two cores, eight replicas of tf.distribute take most of their time for talking. So
the workers, the seeds and the learning rates are here a further axis of each weight.
`--check` trains with `LocalSGD`, `PostLocalSGD`, `ElasticAveraging` and
`DelayGradients`, the first three on two replicas, and compares.

Run: `python benchmarks/studies/synchronization.py [--seeds 10] [--epochs 40] [--data
DIR] [--quick] [--check] [--json FILE]`. With the folder of the MNIST files as `--data`,
on MNIST.
"""

import argparse
import json
import math
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_ext as kx
from benchmarks import _data
from benchmarks._intervals import mean_and_interval

WORKERS, BATCH_SIZE = 8, 16
MOMENTUM = 0.9
RATES = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0]
HIDDEN = 64


@dataclass(frozen=True)
class Way:
    """A way to train: what is left out is as in one process."""

    workers: int = 1
    batch_size: int = BATCH_SIZE
    sync_every: int = 1
    average_state: bool = False
    post: bool = False
    elasticity: float = 0.0
    delay: int = 0
    momentum: float = MOMENTUM

    def messages(self, samples):
        """How often each of the eight workers sends something."""
        steps = samples // (self.workers * self.batch_size)
        if self.delay:  # one worker for each update
            return steps // WORKERS
        return (steps // self.sync_every + steps * self.post) // (1 + self.post)


WAYS = {
    "synchronous, 128": Way(batch_size=WORKERS * BATCH_SIZE),
    "synchronous, 16": Way(),
    "local, 4": Way(WORKERS, sync_every=4),
    "local, 16": Way(WORKERS, sync_every=16),
    "local, 64": Way(WORKERS, sync_every=64),
    "local, 16, with momentum": Way(WORKERS, sync_every=16, average_state=True),
    "post-local, 16": Way(WORKERS, sync_every=16, post=True),
    "elastic, 10": Way(WORKERS, sync_every=10, elasticity=0.9),
    "delay 4": Way(delay=4),
    "delay 16": Way(delay=16),
    "delay 16, no momentum": Way(delay=16, momentum=0.0),
}


class Copies:
    """Many copies of a perceptron: axes for seed and rate together, and for workers."""

    def __init__(self, x, y, weights, rates, way):
        self.x, self.y = tf.constant(x), tf.constant(y)
        self.way = way
        self.rates = tf.reshape(tf.constant(rates, "float32"), (-1, 1, 1, 1))
        self.weights = [
            tf.repeat(tf.constant(w)[:, None], way.workers, 1) for w in weights
        ]
        self.momenta = [tf.zeros_like(w) for w in self.weights]
        self.center = [tf.reduce_mean(w, 1, keepdims=True) for w in self.weights]
        self.late = deque()
        self.since = 0

    def step(self, rows, is_late_half):
        """One update of each copy; rows are of shape (copies, workers, batch)."""
        way = self.way
        together = way.post and not is_late_half
        gradients = _gradients(self.x, self.y, self.weights, rows)
        # The gradients are those before the pull, as in the paper.
        if way.elasticity and self.since == way.sync_every:
            self._pull(way.elasticity / way.workers)
            self.since = 0
        if together:
            gradients = [_mean(g) for g in gradients]
        if way.delay:
            self.late.append(gradients)
            waits = len(self.late) <= way.delay
            gradients = None if waits else self.late.popleft()
        rates = self.rates / 10 if is_late_half else self.rates
        if gradients is not None:
            self.weights, self.momenta = _moved(
                self.weights, self.momenta, gradients, rates, way.momentum
            )
        self.since += not together
        if not way.elasticity and self.since == way.sync_every:
            self.weights = [_mean(w) for w in self.weights]
            if way.average_state:
                self.momenta = [_mean(v) for v in self.momenta]
            self.since = 0

    def _pull(self, rate):
        pairs = list(zip(self.weights, self.center, strict=True))
        self.weights = [w - rate * (w - c) for w, c in pairs]
        self.center = [
            c + rate * tf.reduce_sum(w - c, 1, keepdims=True) for w, c in pairs
        ]

    def result(self):
        """The weights that the training stands for."""
        if self.way.elasticity:
            return self.center
        return [tf.reduce_mean(w, 1, keepdims=True) for w in self.weights]


def _mean(w):
    return tf.zeros_like(w) + tf.reduce_mean(w, 1, keepdims=True)


@tf.function(reduce_retracing=True)
def _gradients(x, y, weights, rows):
    x, y = tf.gather(x, rows), tf.gather(y, rows)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, _logits(x, weights))
        total = tf.reduce_sum(tf.reduce_mean(losses, -1))
    return tape.gradient(total, weights)


@tf.function(reduce_retracing=True)
def _moved(weights, momenta, gradients, rates, momentum):
    momenta = [
        momentum * v - rates * g for v, g in zip(momenta, gradients, strict=True)
    ]
    return [w + v for w, v in zip(weights, momenta, strict=True)], momenta


@tf.function(reduce_retracing=True)
def _scores(x, y, weights, rows):
    """Loss and accuracy of each copy."""
    x, y = tf.gather(x, rows)[:, None], tf.gather(y, rows)[:, None]
    logits = _logits(x, weights)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
    right = tf.cast(tf.argmax(logits, -1, y.dtype) == y, "float32")
    return tf.reduce_mean(losses, (1, 2)), tf.reduce_mean(right, (1, 2))


def _logits(x, weights):
    kernel, bias, head, head_bias = weights
    return tf.nn.relu(x @ kernel + bias) @ head + head_bias


def initial(features, seed):
    rng = np.random.default_rng(seed)
    limits = [math.sqrt(6 / (features + HIDDEN)), math.sqrt(6 / (HIDDEN + 10))]
    kernel = rng.uniform(-limits[0], limits[0], (features, HIDDEN))
    head = rng.uniform(-limits[1], limits[1], (HIDDEN, 10))
    weights = [kernel, np.zeros((1, HIDDEN)), head, np.zeros((1, 10))]
    return [w.astype("float32") for w in weights]


class Data:
    """Samples, and for each seed which of them are for what, and in what order."""

    def __init__(self, x, y, sizes, seeds):
        self.x, self.y = x.astype("float32"), y.astype("int32")
        orders = [np.random.default_rng(seed).permutation(len(x)) for seed in seeds]
        cuts = np.cumsum(sizes)
        splits = [np.split(order, cuts) for order in orders]
        self.parts = [np.array(a) for a in zip(*splits, strict=True)]
        self.seeds = seeds

    def stream(self, epochs):
        """The training samples of each seed, epoch after epoch, each in a new order."""
        rng = np.random.default_rng(0)
        return np.concatenate(
            [rng.permuted(self.parts[0], axis=1) for _ in range(epochs)], axis=1
        )


def run(data, way, epochs):
    """Trains one way with each seed and rate. Returns arrays of both axes."""
    seeds, rates = data.seeds, RATES
    weights = [initial(data.x.shape[1], seed) for seed in seeds]
    stacked = [
        np.repeat(np.stack(w), len(rates), 0) for w in zip(*weights, strict=True)
    ]
    copies = Copies(data.x, data.y, stacked, np.tile(rates, len(seeds)), way)
    stream = np.repeat(data.stream(epochs), len(rates), 0).astype("int32")
    size = way.workers * way.batch_size
    # Whole updates of all ways, so that all see as many samples.
    steps = stream.shape[1] // (64 * WORKERS * BATCH_SIZE) * 64 * WORKERS * BATCH_SIZE
    steps //= size
    for step in range(steps):
        rows = stream[:, step * size : (step + 1) * size]
        rows = rows.reshape(len(stream), way.workers, way.batch_size)
        copies.step(tf.constant(rows), step >= steps // 2)
    found = {"messages": way.messages(steps * size)}
    for name, part in zip(("train", "validation", "test"), data.parts, strict=False):
        rows = tf.constant(np.repeat(part, len(rates), 0).astype("int32"))
        scores = _scores(copies.x, copies.y, copies.result(), rows)
        for kind, values in zip(("loss", "accuracy"), scores, strict=True):
            found[f"{name} {kind}"] = values.numpy().reshape(len(seeds), len(rates))
    return found


def best_rate(found):
    """The place of the learning rate with the lowest loss on the validation data."""
    return int(np.argmin(np.nan_to_num(found["validation loss"].mean(0), nan=np.inf)))


def study(data, epochs, ways):
    columns = ("rate", "train loss", "test loss", "difference", "test accuracy, %")
    print(f"{'':26}{'messages':>9}{columns[0]:>7}", end="")
    print("".join(f"{c:>19}" for c in columns[1:]), flush=True)
    results, base = {}, None
    for name in ways:
        found = run(data, WAYS[name], epochs)
        best = best_rate(found)
        loss = found["test loss"][:, best]
        base = loss if base is None else base
        cells = [
            mean_and_interval(found["train loss"][:, best], 4),
            mean_and_interval(loss, 4),
            mean_and_interval(loss - base, 4),
            mean_and_interval(100 * found["test accuracy"][:, best], 2),
        ]
        print(f"{name:26}{found['messages']:>9}{RATES[best]:>7}", end="")
        print("".join(f"{c:>19}" for c in cells), flush=True)
        results[name] = {
            k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in found.items()
        }
    return results


def check(data, steps=48):
    """Compares the copies with what the library does on two replicas."""
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    rows = data.stream(10)[0][: steps * 2 * BATCH_SIZE]
    ours = {
        "local, 4": (2, lambda: [kx.callbacks.LocalSGD(4)], ()),
        "local, 16, with momentum": (
            2,
            lambda: [kx.callbacks.LocalSGD(16, average_state=True)],
            (),
        ),
        "post-local, 16": (2, lambda: [kx.callbacks.PostLocalSGD(16)], ()),
        "elastic, 10": (2, lambda: [kx.callbacks.ElasticAveraging()], ()),
        "delay 4": (1, list, (kx.gradients.DelayGradients(4),)),
    }
    for name, (workers, callbacks, transforms) in ours.items():
        way = Way(**{**vars(WAYS[name]), "workers": workers})
        start = initial(data.x.shape[1], 0)
        copies = Copies(data.x, data.y, [w[None] for w in start], [0.1], way)
        size = workers * BATCH_SIZE
        for batch in rows[: steps * size].reshape(steps, 1, workers, BATCH_SIZE):
            copies.step(tf.constant(batch.astype("int32")), is_late_half=False)
        with strategy.scope() if workers == 2 else tf.device("CPU:0"):
            model = perceptron(data.x.shape[1], transforms)
        model.set_weights([np.squeeze(w, 0) if len(w) == 1 else w for w in start])
        x, y = data.x[rows[: steps * size]], data.y[rows[: steps * size]]
        model.fit(x, y, size, shuffle=False, callbacks=callbacks(), verbose=0)
        largest = max(
            np.abs(np.squeeze(a) - b).max()
            for a, b in zip(copies.result(), model.get_weights(), strict=True)
        )
        print(f"{name:26} largest difference of a weight: {largest:.1e}")
        if largest > 1e-4:
            raise SystemExit("The simulation is not what the library does.")


def perceptron(features, transforms):
    layers = [keras.Input((features,)), keras.layers.Dense(HIDDEN, "relu")]
    model = keras.Sequential([*layers, keras.layers.Dense(10)])
    optimizer = keras.optimizers.SGD(0.1, momentum=MOMENTUM)
    if transforms:
        optimizer = kx.optimizers.GradientPipeline(optimizer, transforms)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=False)
    return model


def digits(seeds):
    return Data(*_data.digits(), [1024, 273], seeds)


def mnist(folder, seeds):
    return Data(*_data.mnist10k(folder), [7000, 1000], seeds)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--data")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--json")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.epochs = 2, 8
    if options.check:
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * 2,
        )
    seeds = range(options.seeds)
    data = mnist(options.data, seeds) if options.data else digits(seeds)
    if options.check:
        check(data)
        return
    results = study(data, options.epochs, WAYS)
    if options.json:
        Path(options.json).write_text(json.dumps(results))


if __name__ == "__main__":
    main()
