import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from keras_ext.explain._calls._record import Call
from keras_ext.explain.maps._relevance import Step, Weighing, shared
from tests.explain.models import normal

KERNEL = np.array([[2.0], [-1.0], [1.0]], "float32")
# With the kernel products of 2, -2 and -1: together 2 up and 3 down.
X = np.array([[1.0, 2.0, -1.0]], "float32")


def weighing(rule, **kept):
    settings = {"epsilon": 1e-9, "gamma": 0.5, "alpha": 2.0} | kept
    return Weighing(lambda layer: rule, **settings)


def dense():
    layer = layers.Dense(1, use_bias=False)
    layer.build((None, 3))
    layer.set_weights([KERNEL])
    return layer


def step(operation, given):
    inputs = (tf.constant(given),)
    return Step(
        Call(operation, operation, inputs, {}, operation(*inputs), list(inputs))
    )


def test_relevance_is_shared_in_proportion():
    x = [tf.constant(X), tf.constant(X)]
    found = shared(lambda a, b: a + 3 * b, x, [tf.constant([[4.0, 8.0, 12.0]])])
    np.testing.assert_allclose(found[0][0], [[1, 2, 3]], rtol=1e-5)
    np.testing.assert_allclose(found[1][0], [[3, 6, 9]], rtol=1e-5)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        # Of a relevance of 6: in proportion to products, whose sum is -1.
        ("epsilon", [-12.0, 12.0, 6.0]),
        # Twice what is positive in equal parts, less what is negative.
        ("alpha_beta", [12.0, -4.0, -2.0]),
    ],
)
def test_weights_divide_relevance(rule, expected):
    ((found,),) = step(dense(), X).divided([tf.constant([[6.0]])], weighing(rule))
    np.testing.assert_allclose(found, [expected], rtol=1e-5)


def test_gamma_favors_what_is_positive():
    # Products of 4, -2 and -1, the first counting one and a half times: 6 - 3 = 3.
    x = tf.constant([[2.0, 2.0, -1.0]])
    ((found,),) = step(dense(), x).divided([tf.constant([[6.0]])], weighing("gamma"))
    np.testing.assert_allclose(found, [[12.0, -4.0, -2.0]], rtol=1e-5)


def test_epsilon_takes_away_where_sums_are_small():
    own = [tf.constant([[6.0]])]
    ((found,),) = step(dense(), X).divided(own, weighing("epsilon", epsilon=1.0))
    np.testing.assert_allclose(found, [[-6.0, 6.0, 3.0]], rtol=1e-5)


@pytest.mark.parametrize(
    "operation",
    [
        layers.Add(),
        layers.Multiply(),
        layers.Concatenate(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_nothing_is_lost_between_branches(operation):
    inputs = [tf.abs(tf.constant(normal(2, 4, seed=i))) for i in range(2)]
    output = operation(inputs)
    call = Call(operation, operation, (inputs,), {}, output, inputs)
    own = tf.constant(normal(*output.shape, seed=3))
    found = Step(call).divided([own], weighing("epsilon"))
    total = np.sum([np.sum(of[0], axis=1) for of in found], axis=0)
    np.testing.assert_allclose(total, np.sum(own, axis=1), rtol=1e-4)


def test_the_largest_has_what_a_maximum_has():
    x = tf.constant([[[1.0], [3.0], [2.0]]])
    own = [tf.constant([[5.0]])]
    pooled = step(layers.GlobalMaxPooling1D(), x)
    ((found,),) = pooled.divided(own, weighing("epsilon"))
    np.testing.assert_array_equal(found[0, :, 0], [0, 5, 0])


def test_activations_pass_on_what_they_get_and_softmax_is_refused():
    own = [tf.constant([[1.0, -2.0, 3.0]])]
    ((found,),) = step(layers.ReLU(), X).divided(own, weighing("epsilon"))
    np.testing.assert_array_equal(found, own[0])
    with pytest.raises(ValueError, match="`model` must be.*Softmax.*input_x_gradient"):
        step(layers.Softmax(), X).divided(own, weighing("epsilon"))
    with pytest.raises(ValueError, match="`rule` must be"):
        step(dense(), X).divided([ops.ones((1, 1))], weighing("beta"))
