"""A TensorFlow that keeps its gradients elsewhere must fail here."""

import tensorflow as tf

from keras_ext._keras._tensorflow import (
    eager_execute,
    own_record_gradient,
    registered_gradients,
)


def test_operations_are_noted_by_record_gradient(monkeypatch):
    noted = []

    def spy(name, *arguments):
        noted.append(name)
        return own_record_gradient()(name, *arguments)

    monkeypatch.setattr(eager_execute(), "record_gradient", spy)

    @tf.function(autograph=False)
    def slope(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.raw_ops.Square(x=x)
        return tape.gradient(y, x)

    assert float(slope(tf.constant(3.0))) == 6.0
    assert "Square" in noted


def test_without_anybody_it_is_the_one_of_tensorflow():
    assert eager_execute().record_gradient is own_record_gradient()


def test_gradients_are_found_where_tensorflow_looks_for_them():
    registered = registered_gradients()
    entry = registered["Square"]
    changed = {**entry, "type": lambda op, gradient: 7.0 * gradient}
    x = tf.constant(3.0)
    registered["Square"] = changed
    try:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.raw_ops.Square(x=x)
        assert float(tape.gradient(y, x)) == 7.0
    finally:
        registered["Square"] = entry
