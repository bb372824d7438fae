"""Do optimizers that promise to need no tuning do as well as a tuned Adam?

Four tasks: a perceptron on digits (`digits`), one with eight hidden layers (`deep`),
softmax regression on digits (`linear`), and a regression on the diabetes data
(`regression`). The reference is Adam with the best of the constant learning rates 1e-4,
3e-4, ..., 1e-1 for each task, by the validation loss at the end, the mean over seeds.

Then, from a learning rate 30 times smaller, that rate, and 30 times larger: Adam
itself, `Mechanic(Adam)`, `ScheduleFree(AdamW)`, and Adam with
`HypergradientLearningRate`, `BanditLearningRate` and `ReinforcedLearningRate`. Prodigy,
D-Adaptation, DoG and LDoG have no rate to tune: what they are given 30 times too small
or large is their first guess, the distance to the solution, of which the default is in
the middle. Printed is the test loss at the
end, with the weights that are shown, relative to that of the reference.

Run: `python benchmarks/studies/untuned.py [--only digits,deep,linear,regression]
[--kinds "Adam, bandit" ...] [--seeds 3] [--steps 1000]`
"""

import argparse
import math

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_diabetes

import keras_ext as kx
from benchmarks._data import digits, train_validation_test

BATCH_SIZE = 64
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
Adam, AdamW = keras.optimizers.Adam, keras.optimizers.AdamW
KINDS = {
    "Adam": lambda: Adam(1e-3),
    "Mechanic(Adam)": lambda: kx.optimizers.Mechanic(Adam(1e-3)),
    "ScheduleFree(AdamW)": lambda: kx.optimizers.ScheduleFree(
        AdamW(1e-3, beta_1=0.0, weight_decay=0.0), warmup_steps=50
    ),
}

# Callbacks that move the rate of Adam.
STEERING = {
    "Adam, hypergradient": lambda: kx.callbacks.HypergradientLearningRate(verbose=0),
    "Adam, bandit": lambda: kx.callbacks.BanditLearningRate(
        every=20, seed=0, verbose=0
    ),
    "Adam, reinforced": lambda: kx.callbacks.ReinforcedLearningRate(verbose=0),
}

# By a multiple of the first guess.
GUESSING = {
    kind.__name__: lambda factor, kind=kind: kind(initial_distance=1e-6 * factor)
    for kind in (
        kx.optimizers.Prodigy,
        kx.optimizers.DAdaptAdam,
        kx.optimizers.DoG,
        kx.optimizers.LDoG,
    )
}
OFF = (1 / 30, 1.0, 30.0)


def diabetes():
    x, y = load_diabetes(return_X_y=True, scaled=True)
    y = (y - y.mean()) / y.std()
    return np.float32(x * np.sqrt(len(x))), np.float32(y[:, None])


def tasks():
    """By name: the layers, the data, and the loss."""
    images = digits()
    of_classes = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return {
        "digits": ([64, 64, 10], images, of_classes),
        "deep": ([32] * 8 + [10], images, of_classes),
        "linear": ([10], images, of_classes),
        "regression": ([32, 1], diabetes(), keras.losses.MeanSquaredError()),
    }


def network(sizes, x):
    hidden = [keras.layers.Dense(n, "relu") for n in sizes[:-1]]
    return keras.Sequential(
        [keras.Input(x.shape[1:]), *hidden, keras.layers.Dense(sizes[-1])]
    )


def draw_weights(model, rng):
    for v in model.trainable_variables:
        scale = np.sqrt(2.0 / v.shape[0]) if len(v.shape) == 2 else 0.0
        v.assign(scale * rng.normal(size=v.shape))


class Steered:
    """The same training by `fit`, with a callback that moves the learning rate."""

    def __init__(self, sizes, data, loss, make_callback, steps):
        self._make_callback = make_callback
        (x, self._y), *self._others = train_validation_test(*data)
        self._x, self._sizes, self._loss, self._steps = x, sizes, loss, steps

    def end(self, rate, seed):
        keras.utils.set_random_seed(seed)
        model = network(self._sizes, self._x)
        draw_weights(model, np.random.default_rng(seed))
        model.compile(Adam(rate), self._loss)
        rows = len(self._x) // BATCH_SIZE * BATCH_SIZE
        model.fit(
            self._x[:rows],
            self._y[:rows],
            batch_size=BATCH_SIZE,
            epochs=math.ceil(self._steps / (rows // BATCH_SIZE)),
            callbacks=[self._make_callback()],
            verbose=0,
        )
        return [
            model.evaluate(*part, batch_size=1024, verbose=0) for part in self._others
        ]


class Training:
    """A model and its optimizer; the steps are compiled once for rates and seeds."""

    def __init__(self, sizes, data, loss, make, steps):
        parts = [tuple(map(tf.constant, part)) for part in train_validation_test(*data)]
        (x, y), *others = parts
        self.model = network(sizes, x)
        self.optimizer = make()
        self.optimizer.build(self.model.trainable_variables)
        self.start = [v.numpy() for v in self.optimizer.variables]
        # Some rules measure how far the weights are from where they began.
        self._began = [v for v in self.optimizer.variables if v.name.endswith("_start")]
        self.losses = tf.function(
            lambda: [loss(labels, self.model(rows)) for rows, labels in others]
        )

        @tf.function(jit_compile=True)
        def train(order):
            for rows in order:
                with tf.GradientTape() as tape:
                    value = loss(tf.gather(y, rows), self.model(tf.gather(x, rows)))
                weights = self.model.trainable_variables
                self.optimizer.apply(tape.gradient(value, weights), weights)

        self._train, self._num_rows, self._steps = train, len(x), steps

    def end(self, rate, seed):
        """The losses on validation and on test data at the end of a training."""
        rng = np.random.default_rng(seed)
        for variable, value in zip(self.optimizer.variables, self.start, strict=True):
            variable.assign(value)
        draw_weights(self.model, rng)
        if self._began:
            weights = self.model.trainable_variables
            for variable, weight in zip(self._began, weights, strict=True):
                variable.assign(weight)
        wrapper = self.optimizer
        if isinstance(wrapper, kx.optimizers.ScheduleFree):
            wrapper.restart()
        wrapper.learning_rate = rate
        per_epoch = self._num_rows // BATCH_SIZE
        epochs = math.ceil(self._steps / per_epoch)
        order = [
            rng.permutation(self._num_rows)[: per_epoch * BATCH_SIZE]
            for _ in range(epochs)
        ]
        order = np.concatenate(order).reshape(-1, BATCH_SIZE)[: self._steps]
        self._train(tf.constant(order))
        wrapper.finalize_variable_values(self.model.trainable_variables)
        return [float(loss) for loss in self.losses()]


def means(training, rate, seeds):
    """The mean losses on validation and test data; infinite if one is not a number."""
    losses = np.mean([training.end(rate, seed) for seed in range(seeds)], axis=0)
    return np.nan_to_num(losses, nan=np.inf)


def report(name, task, seeds, steps, kinds):
    def asked(table):
        return {k: make for k, make in table.items() if not kinds or k in kinds}

    made = {
        kind: Training(*task, make, steps)
        for kind, make in {"Adam": KINDS["Adam"], **asked(KINDS)}.items()
    }
    tuned = {rate: means(made["Adam"], rate, seeds) for rate in RATES}
    best = min(tuned, key=lambda rate: tuned[rate][0])
    reference = tuned[best][1]
    print(f"\n{name}: Adam is best at {best:g}, with a test loss of {reference:.4g}")
    print("  test loss relative to that, at rate / 30, at the rate, at rate * 30")
    for kind, make in asked(STEERING).items():
        made[kind] = Steered(*task, make, steps)
    ends = {
        kind: [means(training, best * factor, seeds) for factor in OFF]
        for kind, training in made.items()
    }
    for kind, make in asked(GUESSING).items():
        ends[kind] = []
        for factor in OFF:
            guessing = Training(*task, lambda make=make, f=factor: make(f), steps)
            ends[kind].append(means(guessing, 1.0, seeds))
    for kind, found in ends.items():
        ratios = "".join(f"{test / reference:10.3g}" for _, test in found)
        print(f"  {kind:20s}{ratios}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default=",".join(tasks()))
    parser.add_argument("--kinds", nargs="*", default=[])
    parser.add_argument("--steps", type=int, default=1000)
    given = parser.parse_args()
    for name in given.only.split(","):
        report(name, tasks()[name], given.seeds, given.steps, given.kinds)


if __name__ == "__main__":
    main()
