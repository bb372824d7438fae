import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_ext.explain._calls._record import operations
from keras_ext.explain._widening import computes, is_whole, widened


def test_what_is_whole():
    assert all(map(is_whole, ("int32", "uint8", "bool", tf.int64)))
    assert not any(map(is_whole, ("float32", "bfloat16", "string")))


@pytest.mark.parametrize(
    ("layer", "yes"),
    [
        (layers.Dense(1), True),
        (layers.Flatten(), True),
        (layers.Multiply(), True),
        (layers.Embedding(3, 1), False),
        (layers.Discretization([1.0]), False),
    ],
)
def test_what_computes_the_same_with_real_numbers(layer, yes):
    assert computes(layer) == yes


def test_real_numbers_take_the_place_of_whole_ones():
    inputs = keras.Input((2,), dtype="int32")
    outputs = layers.Dense(1, use_bias=False, kernel_initializer="ones")(3 * inputs)
    model = keras.Model(inputs, outputs)
    whole, real = tf.constant([[1, 2]]), tf.constant([[0.5, 0.25]])
    with tf.GradientTape() as tape:
        tape.watch(real)
        with widened(operations(model), {id(whole): real}):
            found = model(whole)
    np.testing.assert_allclose(found, [[2.25]])
    np.testing.assert_allclose(tape.gradient(found, real), [[3.0, 3.0]])
    np.testing.assert_allclose(model(whole), [[9.0]])
