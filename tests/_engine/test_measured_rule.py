import keras
import numpy as np
import tensorflow as tf

from keras_ext._engine._measured_rule import (
    MeasuredRule,
    divided,
    half_square,
    norms,
)


class Normalized(MeasuredRule):
    """Takes off the gradient, divided by its norm or by that of all."""

    def __init__(self, learning_rate=1.0, *, together=False):
        super().__init__(learning_rate)
        self.together = together

    def measure(self, part, given):
        return (half_square(part.gradient),)

    def decide(self, rows, now, given):
        (squares,) = rows
        squares = keras.ops.sum(squares) if self.together else squares
        return divided(now.rate, by=norms(squares), otherwise=0.0)

    def change(self, part, given):
        return part.factor * part.gradient


def moved(together, gradients):
    variables = [keras.Variable(np.zeros_like(g), name="w") for g in gradients]
    Normalized(together=together).apply(list(map(tf.constant, gradients)), variables)
    return [-v.numpy() for v in variables]


def test_each_weight_has_its_factor_or_all_have_one():
    gradients = np.float32([3, 4]), np.float32([[0, 12]])
    first, second = moved(False, gradients)
    np.testing.assert_allclose(first, [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(second, [[0, 1]], rtol=1e-6)
    first, second = moved(True, gradients)
    np.testing.assert_allclose(first, np.float32([3, 4]) / 13, rtol=1e-6)
    np.testing.assert_allclose(second, np.float32([[0, 12]]) / 13, rtol=1e-6)


def test_by_zero_it_is_something_else():
    assert not np.any(moved(False, [np.zeros(2, "float32")]))
    quotients = divided(tf.ones(2), by=tf.constant([0.0, 2.0]), otherwise=7.0)
    np.testing.assert_allclose(quotients, [7, 0.5])
