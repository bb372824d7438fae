"""The relaxed mask and the penalty, against the formulas of the paper in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit, logit

from keras_ext.layers import ConcreteDropout


def wrapped(units=3, activation=None, **kwargs):
    return ConcreteDropout(keras.layers.Dense(units, activation), **kwargs)


def uniform_numbers(shape, seed):
    generator = keras.random.SeedGenerator(seed)
    u = keras.random.uniform(shape, 1e-7, 1 - 1e-7, seed=generator)
    return np.asarray(u, "float64")


def mask_of_the_paper(u, p, temperature):
    z = expit((np.log(p) - np.log(1 - p) + np.log(u) - np.log(1 - u)) / temperature)
    return (1 - z) / (1 - p)


X = np.random.default_rng(0).normal(size=(50, 4)).astype("float32")


def test_mask_is_that_of_the_paper():
    layer = wrapped(initial_rate=0.3, seed=5)
    y = layer(X, training=True)
    mask = mask_of_the_paper(uniform_numbers(X.shape, 5), 0.3, 0.1)
    np.testing.assert_allclose(
        y, (X * mask) @ np.asarray(layer.layer.kernel), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_spatial_drops_channels(data_format):
    conv = keras.layers.Conv2D(2, 1, data_format=data_format, use_bias=False)
    layer = ConcreteDropout(conv, initial_rate=0.3, spatial=True, seed=5)
    shape = (5, 4, 3, 3) if data_format == "channels_last" else (5, 3, 4, 3)
    mask_shape = (5, 1, 1, 3) if data_format == "channels_last" else (5, 3, 1, 1)
    layer.build(shape)
    x = np.ones(shape, "float32")
    mask = mask_of_the_paper(uniform_numbers(mask_shape, 5), 0.3, 2 / 3)
    noisy = layer.noisy(tf.constant(x))
    np.testing.assert_allclose(noisy, x * mask, rtol=1e-4, atol=1e-5)
    assert layer.compute_output_shape(shape) == conv.compute_output_shape(shape)


def test_penalty_is_that_of_the_paper():
    layer = wrapped(initial_rate=0.3, weight_penalty=0.01, dropout_penalty=0.1)
    layer(X)
    p, kernel = 0.3, np.asarray(layer.layer.kernel)
    expected = 0.01 * np.sum(kernel**2) / (1 - p)
    expected += 0.1 * 4 * (p * np.log(p) + (1 - p) * np.log(1 - p))
    assert [float(loss) for loss in layer.losses] == pytest.approx([expected])
    # Its factors are live.
    layer.weight_penalty = 0.0
    layer.dropout_penalty = 0.0
    layer(X)
    assert float(layer.losses[0]) == 0


def test_gradient_of_the_rate_is_that_of_finite_differences():
    layer = wrapped(initial_rate=0.3, weight_penalty=0.01, dropout_penalty=0.1, seed=5)
    layer.build(X.shape)
    kernel, u = np.asarray(layer.layer.kernel, "float64"), uniform_numbers(X.shape, 5)

    def loss(position):
        p = expit(position)
        y = (X * mask_of_the_paper(u, p, 0.1)) @ kernel
        entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p))
        return np.sum(y**2) + 0.01 * np.sum(kernel**2) / (1 - p) - 0.4 * entropy

    with tf.GradientTape() as tape:
        y = layer(X, training=True)
        total = tf.reduce_sum(y**2) + layer.losses[0]
    found = tape.gradient(total, layer.rate_logit.value)
    at, step = logit(0.3), 1e-4
    expected = (loss(at + step) - loss(at - step)) / (2 * step)
    assert float(found) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize(
    ("dropout_penalty", "low", "high"), [(0.0, 0.0, 0.05), (10.0, 0.4, 0.6)]
)
def test_learns_a_rate_between_the_data_and_the_entropy(dropout_penalty, low, high):
    model = keras.Sequential(
        [keras.Input((4,)), wrapped(1, dropout_penalty=dropout_penalty, seed=1)]
    )
    model.compile(keras.optimizers.Adam(0.05), "mse")
    batches = tf.data.Dataset.from_tensors((X, X.sum(axis=1))).repeat(80)
    model.fit(batches, shuffle=False, verbose=0)
    assert low < model.layers[0].rate < high


def test_the_rate_stays_within_bounds_from_where_it_can_return():
    layer = wrapped(initial_rate=0.002, dropout_penalty=0.0, weight_penalty=1e3)
    layer(X)
    optimizer = keras.optimizers.SGD(1.0)
    for sign in (100.0, -100.0):
        optimizer.apply([keras.ops.array(sign)], [layer.rate_logit])
        assert abs(float(layer.rate_logit.numpy())) == 7
    assert layer.rate == pytest.approx(expit(7), rel=1e-5)


def test_saves_the_rate_it_has_learned(tmp_path):
    model = keras.Sequential([keras.Input((4,)), wrapped(initial_rate=0.2)])
    assert model.layers[0].rate == 0.2
    model.layers[0].rate_logit.assign(logit(0.4))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].rate == 0.4
    np.testing.assert_array_equal(loaded(X), model(X))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layer": 3}, "`layer` must be a Keras layer. Received: layer=3"),
        ({"initial_rate": 0.0}, r"`initial_rate` must be a number in \(0.001, 0.95\]"),
        ({"weight_penalty": -1}, "`weight_penalty` must be a number >= 0"),
        ({"dropout_penalty": -1}, "`dropout_penalty` must be a number >= 0"),
        ({"spatial": 1}, "`spatial` must be True or False"),
        ({"temperature": 0}, "`temperature` must be a number > 0 or None"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConcreteDropout(**{"layer": keras.layers.Dense(1), **arguments})


def test_rejects_a_layer_without_a_kernel():
    with pytest.raises(ValueError, match="`layer` must be a layer with a kernel"):
        ConcreteDropout(keras.layers.ReLU()).build((None, 3))
