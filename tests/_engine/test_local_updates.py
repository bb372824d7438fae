"""By hand: a weight that begins at 0, plain SGD, and gradients that are constants."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext import HyperVariable
from keras_ext._engine._local_updates import LocalUpdates
from keras_ext._fit._fit_scope import FitScope
from tests._engine.own_steps import OwnSteps, close_to


class Setting(OwnSteps):
    def __init__(self, strategy, sync_every, momentum=0.0, average_state=False):
        steps = HyperVariable(sync_every, "n", bounds=(1, 8), dtype="int32")

        def make_updates(scope):
            updates = LocalUpdates(scope, steps, average_state)
            updates.attach()
            return updates

        super().__init__(strategy, make_updates, momentum)
        self.sync_every = steps


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
    kept = [id(v) for v in one.updates.own_variables]
    one.updates.build(one.model.trainable_variables)  # as Keras may
    assert [id(v) for v in one.updates.own_variables] == kept
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
