"""A Keras that reads the learning rate elsewhere must fail here."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext._keras._learning_rate import READ, own_learning_rate

DECAY = keras.optimizers.schedules.InverseTimeDecay(0.5, 1, 1.0)


def test_what_was_given_is_kept():
    assert own_learning_rate(keras.optimizers.SGD(DECAY)) is DECAY
    number = own_learning_rate(keras.optimizers.SGD(0.25))
    assert isinstance(number, keras.Variable)
    assert float(number) == 0.25


@pytest.mark.parametrize("rate", [0.5, DECAY])
def test_a_step_uses_what_the_method_gives(rate):
    optimizer = keras.optimizers.SGD(rate)
    weight = keras.Variable(np.zeros(1))
    assert callable(getattr(optimizer, READ))
    object.__setattr__(optimizer, READ, lambda: tf.constant(0.125))
    optimizer.apply([tf.ones(1)], [weight])
    np.testing.assert_array_equal(weight, [-0.125])
