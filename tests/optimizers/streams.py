"""Optimizers on one stream of gradients, that of the oracles."""

from functools import partial

import keras
import numpy as np
import tensorflow as tf

from keras_ext._keras._optimizer_family import optimizer_family
from tests.streams import FIXTURES, STREAM, WEIGHTS, variables_of

# As in `fixtures/make_optimizers.py`.
KEPT = (1, 2, 5, 10, 20, 30, 40, 50)
GRADIENTS = [
    [np.clip(g, -5, 5) for g in some] for some in zip(*STREAM.values(), strict=True)
]
_FILE = np.load(FIXTURES / "optimizers.npz")
ORACLES = list(dict.fromkeys(key.partition(":")[0] for key in _FILE.files))


def oracle(name):
    """The weights after 1, 2, 5, ... updates, as others computed them."""
    return list(zip(*(_FILE[f"{name}: {weight}"] for weight in STREAM), strict=True))


def show(optimizer, loss):
    """Shows an optimizer what it wants to see beside the gradient, before `apply`."""
    optimizer.scale_loss(loss)
    for member in optimizer_family(optimizer):
        if hasattr(type(member), "update_curvature"):
            member.update_curvature(partial(curvatures, member))


def curvatures(optimizer, weights):
    """Those of the oracles: one kind of estimate is never negative."""
    signed = [np.cos(np.arange(np.prod(w.shape))).reshape(w.shape) for w in weights]
    is_signed = optimizer.estimator == "hutchinson"
    return [tf.constant(np.float32(c if is_signed else abs(c))) for c in signed]


class Run:
    """An optimizer on the weights of the stream, with its traced step.

    Args:
        make: Function that gives the optimizer.
        strategy: Where the weights are. None means a single replica.
        dtype: Of the weights.
        function_options: Of `tf.function`; None means that nothing is traced.
    """

    def __init__(self, make, strategy=None, dtype="float32", function_options=()):
        strategy = strategy or tf.distribute.get_strategy()
        with strategy.scope():
            given = {n: w.astype("float32") for n, w in WEIGHTS.items()}
            self.weights = variables_of(given)
            if dtype != "float32":
                self.weights = [
                    keras.Variable(w, dtype=dtype, name=w.name) for w in self.weights
                ]
            self.optimizer = make()
            self.optimizer.build(self.weights)
        # Unequal shares, so that what is done before the sum would show.
        replicas = strategy.num_replicas_in_sync
        shares = {1: [1.0], 2: [0.25, 0.75]}[replicas]

        def step(*gradients):
            def apply():
                context = tf.distribute.get_replica_context()
                share = tf.gather(shares, context.replica_id_in_sync_group)
                own = [tf.cast(share * g, dtype) for g in gradients]
                loss = 3.0 + 0.01 * tf.add_n([tf.reduce_sum(g) for g in gradients])
                show(self.optimizer, share * loss)
                self.optimizer.apply(own, self.weights)

            strategy.run(apply)

        traced = function_options is not None
        options = dict(function_options or {})
        self._step = tf.function(step, autograph=False, **options) if traced else step
        self._start = [(v, v.numpy()) for v in self.variables]

    @property
    def variables(self):
        return [*self.weights, *self.optimizer.variables]

    def anew(self):
        """Back to where it began."""
        for variable, value in self._start:
            variable.assign(value)
        return self

    def step(self, gradients):
        self._step(*map(tf.constant, gradients))

    def after(self, gradients):
        """The weights after these gradients."""
        for some in gradients:
            self.step(some)
        return self.values()

    def values(self):
        return [w.numpy() for w in self.weights]

    def kept(self):
        """The weights after 1, 2, 5, ... updates."""
        found = []
        for t, gradients in enumerate(GRADIENTS, start=1):
            self.step(gradients)
            if t in KEPT:
                found.append(self.values())
        return found
