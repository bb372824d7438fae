import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext._engine._forwarding_optimizer import ForwardingOptimizer
from keras_ext._engine._loss_scaling import adapt_loss_scale, unscaled


def scaling(dynamic_growth_steps=2):
    scaler = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(0.1),
        initial_scale=16.0,
        dynamic_growth_steps=dynamic_growth_steps,
    )
    optimizer = ForwardingOptimizer(scaler)
    optimizer.build([keras.Variable([0.0])])
    return optimizer


def gradient_of_twice(optimizer):
    """Of a loss of 2 w, the way that a training step goes."""
    w = tf.Variable([1.0])
    with tf.GradientTape() as tape:
        loss = optimizer.scale_loss(2.0 * w)
    return unscaled(optimizer, [tape.gradient(loss, w)])[0]


@pytest.mark.parametrize("factor", [None, 8.0])
def test_a_factor_of_the_loss_is_no_part_of_the_gradient(factor):
    sgd = keras.optimizers.SGD(0.1, loss_scale_factor=factor)
    assert float(gradient_of_twice(ForwardingOptimizer(sgd))[0]) == 2.0


def test_nor_is_that_of_a_wrapped_scaler():
    assert float(gradient_of_twice(scaling())[0]) == 2.0


def test_a_scaler_around_it_has_undone_its_own():
    gradient = tf.constant([2.0], "float16")
    (same,) = unscaled(scaling(), [gradient])
    assert float(same[0]) == 2.0
    assert same.dtype == gradient.dtype


def test_the_scale_moves_as_that_of_keras():
    optimizer = scaling()
    optimizer.scale_loss(tf.constant(1.0))
    keras_own = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(0.1), initial_scale=16.0, dynamic_growth_steps=2
    )
    w = keras.Variable([0.0])
    keras_own.build([w])
    for finite in (True, True, True, False, True, True, False, False, True):
        keras_own.apply([tf.constant([1.0 if finite else np.inf])], [w])
        adapt_loss_scale(optimizer, finite=finite)
        mine, theirs = optimizer.scaler, keras_own
        assert float(mine.dynamic_scale) == float(theirs.dynamic_scale)
        assert int(mine.step_counter) == int(theirs.step_counter)


def test_a_scale_that_was_not_used_stays():
    optimizer = scaling(dynamic_growth_steps=1)
    adapt_loss_scale(optimizer, finite=True)
    adapt_loss_scale(optimizer, finite=False)
    assert float(optimizer.scaler.dynamic_scale) == 16.0
    adapt_loss_scale(ForwardingOptimizer(keras.optimizers.SGD()), finite=False)
