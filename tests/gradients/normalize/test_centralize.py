"""Gradient centralization against optax, for the weights of many kinds of layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_ext.gradients import Centralize
from keras_ext.optimizers import GradientPipeline, unit_axes
from tests.streams import FIXTURES

OPTAX = dict(np.load(FIXTURES / "centralize.npz"))
GIVEN = dict(np.load(FIXTURES / "adaptive_clip.npz"))

# From the name of a layer to the layer and the shape of its input.
LAYERS = {
    "dense": (lambda n: layers.Dense(7, name=n), (5,)),
    "conv1d": (lambda n: layers.Conv1D(7, 2, name=n), (8, 3)),
    "conv2d": (lambda n: layers.Conv2D(7, (2, 3), name=n), (8, 8, 4)),
    "conv2d_groups": (lambda n: layers.Conv2D(6, (2, 3), groups=2, name=n), (8, 8, 4)),
    "conv3d": (lambda n: layers.Conv3D(6, (2, 1, 3), name=n), (4, 4, 4, 4)),
    "conv1d_transpose": (lambda n: layers.Conv1DTranspose(7, 3, name=n), (8, 4)),
    "conv2d_transpose": (
        lambda n: layers.Conv2DTranspose(7, (2, 3), name=n),
        (8, 8, 4),
    ),
    "depthwise_conv2d": (
        lambda n: layers.DepthwiseConv2D((5, 4), depth_multiplier=2, name=n),
        (8, 8, 3),
    ),
    "separable_conv2d": (
        lambda n: layers.SeparableConv2D(7, (5, 4), depth_multiplier=2, name=n),
        (8, 8, 3),
    ),
    "embedding": (lambda n: layers.Embedding(9, 4, name=n), (6,)),
    "einsum_dense": (
        lambda n: layers.EinsumDense("ab,bc->ac", 7, bias_axes="c", name=n),
        (5,),
    ),
    "lstm": (lambda n: layers.LSTM(3, name=n), (4, 5)),
    "gru": (lambda n: layers.GRU(3, name=n), (4, 5)),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_equals_optax_for_the_weights_of_every_kind_of_layer(kind):
    make, shape = LAYERS[kind]
    model = keras.Sequential([keras.Input(shape), make(kind)], name="model")
    variables = model.trainable_variables
    transform = Centralize()
    transform.build(variables, unit_axes(model))
    names = [v.path.removeprefix("model/") for v in variables]
    gradients = [GIVEN[name][1] for name in names]
    actual = transform([tf.constant(g) for g in gradients], variables)
    compared = 0
    for name, gradient, a in zip(names, gradients, actual, strict=True):
        expected = OPTAX.get(f"centralize/{name}")
        if expected is None:  # a bias
            np.testing.assert_array_equal(a, gradient)
        else:
            compared += 1
            tolerance = 2e-7 * np.abs(gradient).max()
            np.testing.assert_allclose(a, expected, rtol=1e-6, atol=tolerance)
    assert compared


def test_the_mean_of_the_weights_of_every_unit_stays():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    optimizer = GradientPipeline(keras.optimizers.SGD(0.1, 0.9), [Centralize()])
    model.compile(optimizer, "mse")
    before, _ = model.get_weights()
    rng = np.random.default_rng(0)
    model.fit(rng.normal(size=(64, 4)), rng.normal(size=(64, 3)), epochs=5, verbose=0)
    after, _ = model.get_weights()
    assert np.abs(after - before).max() > 1e-2
    np.testing.assert_allclose(after.mean(axis=0), before.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("shape", [(), (3,), (1, 4)])
def test_leaves_alone_what_would_become_zero_or_is_one_unit(shape):
    gradient = np.random.default_rng(0).normal(size=shape).astype("float32")
    variable = keras.Variable(np.ones(shape), dtype="float32", name="kernel")
    transform = Centralize()
    transform.build([variable], {})
    (actual,) = transform([tf.constant(gradient)], [variable])
    np.testing.assert_array_equal(actual, gradient)


def test_the_mean_of_half_precision_is_taken_in_full():
    # The sum, 2 ** 17, is too large for float16.
    kernel = keras.Variable(np.zeros((128, 1)), dtype="float16", name="kernel")
    transform = Centralize()
    transform.build([kernel], {})
    gradient = np.full((128, 1), 1024.0, "float16")
    gradient[0] += 128
    (actual,) = transform([tf.constant(gradient)], [kernel])
    assert actual.dtype == "float16"
    np.testing.assert_array_equal(actual[0], 127.0)
    np.testing.assert_array_equal(actual[1:], -1.0)


def test_rejects_what_is_no_pattern():
    with pytest.raises(ValueError, match=r"`include` must be a regular expression"):
        Centralize(include=3)
