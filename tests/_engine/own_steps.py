"""A model whose replicas step on their own, as they are told to."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext._fit._fit_scope import FitScope
from keras_ext._keras import _replica


class OwnSteps:
    """A weight that begins at 0, plain SGD, and gradients that are constants.

    `make_updates(scope)` gives what steps.
    """

    def __init__(self, strategy, make_updates, momentum=0.0):
        with strategy.scope():
            layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
            self.model = keras.Sequential([keras.Input((1,)), layer])
            self.model.compile(keras.optimizers.SGD(0.1, momentum=momentum), "mse")
        self.strategy = strategy
        with FitScope.joining(self.model, "owner") as self.scope, strategy.scope():
            self.updates = make_updates(self.scope)
        self.updates.begin()

        @tf.function(autograph=False)
        def step(gradients):
            def on_replica():
                mine = gradients[_replica.replica_number()]
                # Keras divides the loss by the number of replicas.
                share = mine / strategy.num_replicas_in_sync
                self.updates.apply([tf.reshape(share, (1, 1))])

            strategy.run(on_replica)

        self.step = lambda *values: step(tf.constant(values, "float32"))

    @property
    def weights(self):
        """As each replica has it."""
        weight = self.model.trainable_variables[0]
        return [float(np.squeeze(part)) for part in _replica.parts(weight)]


def close_to(*values):
    return pytest.approx(list(values), rel=1e-5)
