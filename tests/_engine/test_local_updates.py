"""By hand: a weight that begins at 0, plain SGD, and gradients that are constants."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext import HyperVariable
from keras_ext._engine._local_updates import LocalUpdates
from keras_ext._fit._fit_scope import FitScope
from keras_ext._keras import _replica


class Setting:
    """A model whose replicas step as they are told to."""

    def __init__(self, strategy, sync_every, momentum=0.0, average_state=False):
        with strategy.scope():
            layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
            self.model = keras.Sequential([keras.Input((1,)), layer])
            self.model.compile(keras.optimizers.SGD(0.1, momentum=momentum), "mse")
        self.strategy = strategy
        steps = HyperVariable(sync_every, "n", bounds=(1, 8), dtype="int32")
        with FitScope.joining(self.model, "owner") as self.scope, strategy.scope():
            self.updates = LocalUpdates(self.scope, steps, average_state)
            self.updates.attach()
        self.updates.begin()
        self.sync_every = steps

        @tf.function(autograph=False)
        def step(gradients):
            def on_replica():
                # Keras divides the loss by the number of replicas.
                mine = gradients[_replica.replica_number()]
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


@pytest.fixture(scope="module")
def every_second(strategies):
    """Traced once for the tests of two replicas."""
    return Setting(strategies(2), sync_every=2)


@pytest.fixture
def two(every_second):
    """As it is in the beginning."""
    updates = every_second.updates
    for variable in (*every_second.model.trainable_variables, *updates._counts()[:4]):
        variable.assign(np.zeros(variable.shape))
    every_second.sync_every.assign(2)
    return every_second


def test_each_replica_steps_alone_and_then_they_are_averaged(two):
    two.step(1, 3)
    assert two.weights == close_to(-0.1, -0.3)
    assert two.updates.synchronizations == 0
    two.step(1, 3)
    assert two.weights == close_to(-0.4, -0.4)
    two.step(5, 1)
    assert two.weights == close_to(-0.9, -0.5)
    assert two.updates.synchronizations == 1


def test_who_looks_sees_the_mean(two):
    two.step(1, 3)
    assert two.model.get_weights()[0].item() == pytest.approx(-0.2)
    assert two.weights == close_to(-0.2, -0.2)
    # And from there it takes two steps again.
    two.step(1, 3)
    assert two.weights == close_to(-0.3, -0.5)


def test_with_a_mean_in_every_step_the_gradients_are_averaged(two):
    two.sync_every.assign(1)
    two.step(1, 3)
    two.step(0, 2)
    assert two.weights == close_to(-0.3, -0.3)


def test_a_step_that_is_not_finite_is_left_out_by_all(two):
    before = int(two.updates.iterations.numpy())
    two.step(1, 3)
    two.step(np.nan, 3)
    assert two.weights == close_to(-0.2, -0.2)
    assert two.updates.left_out == 1.0
    assert int(two.updates.iterations.numpy()) == before + 2


def test_one_replica_trains_as_without_it(strategies):
    one = Setting(strategies(1), sync_every=3, momentum=0.9)
    plain, weight = keras.optimizers.SGD(0.1, momentum=0.9), keras.Variable([[0.0]])
    plain.build([weight])
    for gradient in (1.0, -2.0, 0.5, 4.0):
        one.step(gradient)
        plain.apply([tf.constant([[gradient]])])
    assert one.weights == close_to(float(weight[0, 0]))
    sgd = one.updates.optimizer
    one.scope.close()
    assert one.model.optimizer is sgd


def test_it_says_what_it_cannot_do(strategies):
    one = Setting(strategies(1), sync_every=1)
    with pytest.raises(ValueError, match="at least one of them not None"):
        one.updates.apply([None])
    lazy = keras.Sequential([keras.layers.Dense(1)])
    lazy.compile("sgd", "mse")
    with FitScope.joining(lazy, "owner") as scope:
        updates = LocalUpdates(scope, HyperVariable(1, "n", dtype="int32"), False)
        with pytest.raises(ValueError, match=r"`model\.built` must be True"):
            updates.begin()
    scope.close()
