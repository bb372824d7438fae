"""Gradients of one length, against optax."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.gradients import NormalizeByLayer
from keras_ext.optimizers import GradientPipeline
from tests.streams import FIXTURES, STREAM, WEIGHTS, assert_equal_streams, transformed

OPTAX = dict(np.load(FIXTURES / "centralize.npz"))


@pytest.mark.parametrize("scale", ["unit", "weight"])
def test_equals_optax_over_a_stream_of_gradients(scale):
    expected = {name: OPTAX[f"{scale}/{name}"] for name in STREAM}
    transform = NormalizeByLayer(scale, per="tensor", epsilon=1e-20)
    assert_equal_streams(transformed(transform), expected)


@pytest.mark.parametrize("per", ["unit", "tensor", "layer", "global"])
@pytest.mark.parametrize("scale", ["unit", "weight"])
def test_every_group_has_the_length_that_it_should_have(scale, per):
    actual = transformed(NormalizeByLayer(scale, per=per))
    t = 33  # a spike in one weight
    squares = {name: np.square(np.float64(g[t])) for name, g in actual.items()}
    wanted = {name: np.square(np.float64(w)) for name, w in WEIGHTS.items()}
    for group in groups(squares, per):
        length = np.sqrt(sum(np.sum(squares[n], axis) for n, axis in group))
        expected = np.sqrt(sum(np.sum(wanted[n], axis) for n, axis in group))
        np.testing.assert_allclose(
            length, expected if scale == "weight" else 1.0, rtol=1e-6
        )


def groups(names, per):
    if per == "unit":
        return [[(n, 0)] for n in names]
    if per == "tensor":
        return [[(n, None)] for n in names]
    if per == "layer":
        return [
            [(n, None) for n in names if n.startswith(layer)]
            for layer in ("hidden/", "head/")
        ]
    return [[(n, None) for n in names]]


def test_a_gradient_of_zero_stays_zero():
    actual = transformed(NormalizeByLayer(per="tensor"))
    np.testing.assert_array_equal(actual["hidden/bias"][5], 0.0)
    np.testing.assert_array_equal(actual["head/kernel"][12], 0.0)


def test_weights_of_zero_are_moved_by_the_floor():
    bias = keras.Variable([0.0, 0.0], name="bias")
    transform = NormalizeByLayer("weight", min_weight_norm=0.01)
    optimizer = GradientPipeline(keras.optimizers.SGD(1.0), [transform])
    optimizer.apply([tf.constant([30.0, 40.0])], [bias])
    np.testing.assert_allclose(bias.numpy(), [-0.006, -0.008], rtol=1e-6)


def test_half_precision_stays_half_precision():
    kernel = keras.Variable(np.ones((2, 1)), dtype="float16", name="kernel")
    transform = NormalizeByLayer()
    transform.build([kernel], {})
    # Their squares overflow float16.
    (actual,) = transform([tf.constant([[3e3], [4e3]], "float16")], [kernel])
    assert actual.dtype == "float16"
    np.testing.assert_allclose(np.float32(actual), [[0.6], [0.8]], rtol=1e-3)


def test_gradients_far_below_epsilon_stay_small():
    kernel = keras.Variable(np.ones(2), dtype="float32", name="kernel")
    transform = NormalizeByLayer(epsilon=1e-3)
    transform.build([kernel], {})
    (actual,) = transform([tf.constant([3e-6, 4e-6])], [kernel])
    np.testing.assert_allclose(actual, np.divide([3e-6, 4e-6], 1e-3 + 5e-6), rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": "layer"}, '`scale` must be "unit" or "weight"'),
        ({"per": "kernel"}, r"`per` must be .*Received: per='kernel'"),
        ({"epsilon": 0}, r"`epsilon` must be a number > 0\. Received: epsilon=0"),
        ({"min_weight_norm": -1}, r"`min_weight_norm` must be a number > 0"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        NormalizeByLayer(**arguments)
