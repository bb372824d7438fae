import pytest
import tensorflow as tf

from keras_ext.explain._reach import reached


@pytest.fixture(autouse=True)
def _graph():
    """Only tensors of a graph know what they are made of."""
    with tf.Graph().as_default():
        yield


def test_what_a_tensor_is_made_of_is_found():
    a, b, c = (tf.compat.v1.placeholder(tf.float32, (2,)) for _ in range(3))
    made = tf.exp(a) * 2 + tf.square(b)
    assert reached(made, {id(a), id(b), id(c)}) == {id(a), id(b)}


def test_the_shape_of_a_tensor_does_not_depend_on_what_is_in_it():
    a = tf.compat.v1.placeholder(tf.float32, (None,))
    assert not reached(tf.zeros_like(a) + tf.cast(tf.shape(a)[0], tf.float32), {id(a)})


def test_nothing_is_looked_for_behind_stops_and_what_is_found():
    a = tf.compat.v1.placeholder(tf.float32, (2,))
    middle = tf.exp(a)
    end = middle + 1
    assert not reached(end, {id(a)}, {id(middle)})
    assert reached(end, {id(a), id(middle)}) == {id(middle)}
    assert reached(a, {id(a)}, {id(a)}) == {id(a)}
