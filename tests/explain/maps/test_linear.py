import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_ext.explain.maps._linear import linear_parts
from tests.explain.models import normal

X = normal(5, 3)
P, N = np.maximum(X, 0), np.minimum(X, 0)


@pytest.fixture(scope="module")
def dense():
    """Three numbers in, four out, with a bias."""
    layer = layers.Dense(4)
    layer.build((None, 3))
    layer.set_weights([normal(3, 4, seed=1), normal(4, seed=2)])
    return layer


@pytest.fixture(scope="module")
def normalization():
    """Turns the sign of some of four."""
    layer = layers.BatchNormalization(epsilon=0.0)
    layer.build((None, 4))
    scale, shift = np.array([1.0, -2.0, 0.5, -1.0]), np.array([0.0, 1.0, -1.0, 2.0])
    layer.set_weights([scale, shift, np.full(4, 0.5), np.full(4, 4.0)])
    return layer


def weights_of(dense, normalization):
    kernel, bias = dense.get_weights()
    if normalization is None:
        return kernel, bias
    gamma, beta, mean, variance = normalization.get_weights()
    scale = gamma / np.sqrt(variance)
    return kernel * scale, (bias - mean) * scale + beta


@pytest.mark.parametrize("normalized", [False, True])
def test_signs_of_products_are_told_apart(dense, normalization, normalized):
    behind = normalization if normalized else None
    (linear,) = linear_parts(dense, dense, behind)
    kernel, bias = weights_of(dense, behind)
    products = X[:, :, None] * kernel
    up, down = (linear.signed(P, N, up=up).numpy() for up in (True, False))
    positive = np.maximum(products, 0).sum(axis=1) + np.maximum(bias, 0)
    np.testing.assert_allclose(up, positive, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(up + down, linear(X), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(linear(X), X @ kernel + bias, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("normalized", [False, True])
def test_what_is_positive_counts_more(dense, normalization, normalized):
    behind = normalization if normalized else None
    (linear,) = linear_parts(dense, dense, behind)
    kernel, bias = weights_of(dense, behind)
    terms = np.concatenate([X[:, :, None] * kernel, np.tile(bias, (5, 1, 1))], axis=1)
    expected = (terms + 0.5 * np.maximum(terms, 0)).sum(axis=1)
    found = linear.favored(P, N, 0.5)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_separable_convolution_is_two():
    layer = layers.SeparableConv1D(4, 2, depth_multiplier=2, bias_initializer="ones")
    x = tf.constant(normal(2, 5, 3))
    expected = layer(x)
    first, second = linear_parts(layer, layer, None)
    np.testing.assert_allclose(second(first(x)), expected, rtol=1e-5, atol=1e-6)


def test_more_weights_than_kernel_and_bias_have_no_signs():
    layer = layers.EinsumDense("ab,bc->ac", 4, bias_axes="c")
    layer.build((None, 3))
    layer.enable_lora(2)
    (linear,) = linear_parts(layer, layer, None)
    with pytest.raises(ValueError, match='`rule` must be "epsilon" for'):
        linear.signed(tf.constant(P), tf.constant(N), up=True)
