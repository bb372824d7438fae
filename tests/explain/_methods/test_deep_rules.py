import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_ext.explain._calls._record import Call
from keras_ext.explain._methods import _deep_rules as rules
from keras_ext.explain._quadrature import gauss_nodes
from tests.explain.models import normal

# Two rows beside three background rows.
X = normal(5, 4)


def pairs_of(rows, behind):
    return rules.Pairs(rows, behind, *map(tf.constant, gauss_nodes(8)))


def call_of(operation, *given):
    inputs = tuple(map(tf.constant, given))
    return Call(operation, operation, inputs, {}, operation(*inputs), list(inputs))


def gained(call, rule):
    """What the inputs of pairs have together, and what the outputs have."""
    (y,), pairs = call.outputs, pairs_of(2, 3)
    m = tf.constant(normal(6, *y.shape[1:], seed=1))
    gains = [
        tf.reshape(own * pairs.difference(x), (6, -1))
        for own, x in zip(rule(call, pairs, [m]), call.inputs, strict=True)
    ]
    expected = tf.reshape(m * pairs.difference(y), (6, -1))
    return np.sum([np.sum(g, axis=1) for g in gains], axis=0), np.sum(expected, axis=1)


def test_every_row_is_beside_every_background_row():
    pairs, x = pairs_of(2, 3), tf.constant(X)
    np.testing.assert_array_equal(pairs.own(x), X[[0, 0, 0, 1, 1, 1]])
    np.testing.assert_array_equal(pairs.other(x), X[[2, 3, 4, 2, 3, 4]])
    expected = X[[0, 0, 0, 1, 1, 1]] - X[[2, 3, 4, 2, 3, 4]]
    np.testing.assert_allclose(pairs.difference(x), expected)


CALLS = {
    rules.linear: lambda: call_of(layers.Dense(3), X),
    rules.activated: lambda: call_of(layers.Dense(3, "tanh"), X),
    rules.elementwise: lambda: call_of(tf.nn.softplus, X),
    rules.maximum: lambda: call_of(layers.MaxPooling1D(2), X[..., None]),
    rules.product: lambda: call_of(tf.multiply, X, X[:, :1]),
    rules.general: lambda: call_of(tf.nn.softplus, X),
}


@pytest.mark.parametrize("rule", CALLS, ids=lambda rule: rule.__name__)
def test_rules_keep_the_sum(rule):
    found, expected = gained(CALLS[rule](), rule)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_softmax_keeps_the_sum():
    call = call_of(tf.nn.softmax, 3 * X)
    found, expected = gained(
        call, lambda call, pairs, m: rules.softmax(call.inputs[0], -1, pairs, m)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_where_both_are_equal_the_slope_is_the_derivative():
    x = np.full((2, 1), 0.5, "float32")
    one = pairs_of(1, 1)
    (found,) = rules.elementwise(call_of(tf.tanh, x), one, [tf.ones((1, 1))])
    np.testing.assert_allclose(found, 1 - np.tanh([[0.5]]) ** 2, rtol=1e-5)


def test_a_maximum_belongs_to_who_has_it():
    """From 1, which the first has, to 3, which the second has."""
    x = tf.constant([[0.0, 3.0], [1.0, 2.0]])[..., None]
    one = pairs_of(1, 1)
    (m,) = rules.maximum(
        call_of(layers.GlobalMaxPooling1D(), x), one, [tf.ones((1, 1))]
    )
    np.testing.assert_allclose((m * one.difference(x))[0, :, 0], [0.0, 1.0])


def test_rules_are_those_of_kinds():
    for layer, rule in (
        (layers.Dense(1), rules.linear),
        (layers.Dense(1, "relu"), rules.activated),
        (layers.MaxPooling1D(), rules.maximum),
        (layers.ReLU(), rules.elementwise),
        (layers.Activation("gelu"), rules.elementwise),
        (layers.LayerNormalization(), rules.general),
    ):
        call = Call(layer, layer, (X,), {}, X, [X])
        assert rules.rule_of(call) is rule
        assert rules.is_general(rule, call) == (rule is rules.general)
