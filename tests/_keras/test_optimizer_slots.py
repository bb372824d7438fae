"""A Keras that keeps the state of its optimizers elsewhere must fail here."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext._keras._optimizer_slots import (
    adam_preconditioner,
    built_variables,
    decays,
    diagonal_steps,
    strategy_of,
)


@pytest.mark.parametrize("amsgrad", [False, True])
def test_the_preconditioner_is_what_adam_divides_by(amsgrad):
    """By the definition in float64, after two steps with other gradients."""
    weight = keras.Variable(np.zeros(2))
    optimizer = keras.optimizers.Adam(0.1, amsgrad=amsgrad)
    gradients = np.array([[3.0, -0.5], [0.0, 0.0]])
    second = largest = np.zeros(2)
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient, "float32")], [weight])
        second = 0.999 * second + 0.001 * gradient**2
        largest = np.maximum(largest, second)
    root = np.sqrt(largest if amsgrad else second)
    expected = np.sqrt(1 - 0.999**2) / (root + 1e-7)
    for preconditioner in (adam_preconditioner, diagonal_steps):
        (found,) = preconditioner(optimizer, [weight])
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_without_adam_there_is_none():
    weight = keras.Variable(np.zeros(2))
    optimizer = keras.optimizers.SGD()
    optimizer.build([weight])
    assert adam_preconditioner(optimizer, [weight]) is None
    assert diagonal_steps(optimizer, [weight]) is None


def test_weights_that_are_left_out_do_not_decay():
    kernel, bias = (keras.Variable(np.ones(2), name=n) for n in ("kernel", "bias"))
    optimizer = keras.optimizers.AdamW(weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.build([kernel, bias])
    assert decays(optimizer, kernel)
    assert not decays(optimizer, bias)
    assert not decays(keras.optimizers.SGD(), kernel)


def test_it_is_known_what_an_optimizer_was_built_for_and_where():
    weights = [keras.Variable(np.zeros(2)), keras.Variable(np.zeros(3))]
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    with strategy.scope():
        optimizer = keras.optimizers.SGD(0.1)
    assert list(built_variables(optimizer)) == []
    optimizer.build(weights)
    assert [id(v) for v in built_variables(optimizer)] == [id(v) for v in weights]
    assert strategy_of(optimizer) is strategy
