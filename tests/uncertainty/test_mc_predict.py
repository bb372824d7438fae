"""Monte-Carlo prediction, against closed forms of linear models."""

import keras
import numpy as np
import pytest
from keras import layers
from scipy.special import expit, softmax
from scipy.stats import entropy

import keras_ext as kx
from keras_ext.uncertainty import mc_predict
from tests.thorough import MATRIX, thorough_but

RNG = np.random.default_rng(0)
X = RNG.normal(size=(7, 5)).astype("float32")


def linear(*before, units=2):
    return keras.Sequential(
        [keras.Input((5,)), *before, layers.Dense(units, name="dense")]
    )


DROPOUTS = {
    "Dropout": lambda: layers.Dropout(0.25, seed=1),
    "GaussianDropout": lambda: layers.GaussianDropout(0.25, seed=1),
    "AdaptiveDropout": lambda: kx.layers.LiveDropout(0.25, seed=1),
}


@pytest.mark.parametrize(
    ("dropout", "jit_compile"),
    [
        *((name, False) for name in DROPOUTS),
        ("Dropout", True),
        pytest.param("GaussianDropout", True, marks=pytest.mark.thorough(MATRIX)),
        pytest.param("AdaptiveDropout", True, marks=pytest.mark.thorough(MATRIX)),
    ],
)
def test_moments_of_a_linear_model(dropout, jit_compile):
    model = linear(DROPOUTS[dropout]())
    model.compile("sgd", "mse", jit_compile=jit_compile)
    # Two batches, which are not of the same size, or one.
    size = 4 if dropout == "Dropout" else 7
    found = mc_predict(model, X, num_samples=4000, batch_size=size)
    kernel, bias = (np.asarray(v) for v in model.get_layer("dense").weights)
    variance = 0.25 / 0.75 * X**2 @ kernel**2
    assert found.mean.shape == found.variance.shape == (7, 2)
    # The standard error of a variance of nearly normal numbers is 2 percent.
    np.testing.assert_allclose(found.variance, variance, rtol=0.12)
    error = np.abs(found.mean - (X @ kernel + bias))
    assert np.all(error < 5 * np.sqrt(variance / 4000))
    assert found.entropy is None
    assert found.mutual_information is None


@pytest.mark.parametrize("outputs", ["logits", "probabilities"])
@pytest.mark.parametrize("units", [1, 3])
def test_uncertainty_is_split_as_in_closed_form(units, outputs):
    # One input: it is dropped, or doubled.
    activation = {1: "sigmoid", 3: "softmax"}[units]
    dense = layers.Dense(
        units, activation if outputs == "probabilities" else None, use_bias=False
    )
    model = keras.Sequential([keras.Input((1,)), layers.Dropout(0.5, seed=1), dense])
    kernel = np.array([[2.0, 1.0, -1.0]])[:, :units]
    dense.kernel.assign(kernel)
    found = mc_predict(model, np.ones((1, 1)), samples=4000, outputs=outputs)

    def distribution(logits):
        if units == 1:
            p = expit(logits[0])
            return np.array([p, 1 - p])
        return softmax(logits)

    p = np.stack([distribution(0 * kernel[0]), distribution(2 * kernel[0])])
    whole, within = entropy(p.mean(axis=0)), entropy(p, axis=1).mean()
    np.testing.assert_allclose(found.mean[0], p.mean(axis=0)[:units], atol=0.03)
    np.testing.assert_allclose(found.variance[0], p.var(axis=0)[:units], atol=0.01)
    np.testing.assert_allclose(found.entropy, [whole], atol=0.02)
    np.testing.assert_allclose(found.mutual_information, [whole - within], atol=0.02)


def test_a_sure_model_knows_everything():
    model = linear(layers.Dropout(0.0), units=3)
    found = mc_predict(model, X, samples=5, outputs="logits")
    p = softmax(model(X), axis=-1)
    np.testing.assert_allclose(found.mean, p, rtol=1e-5)
    np.testing.assert_allclose(found.entropy, entropy(p, axis=-1), rtol=1e-4)
    np.testing.assert_allclose(found.mutual_information, 0, atol=1e-6)
    np.testing.assert_allclose(found.variance, 0, atol=1e-12)


def test_variance_survives_a_large_mean():
    model = linear(layers.Dropout(0.5, seed=1), units=1)
    model.get_layer("dense").bias.assign([3e3])
    found = mc_predict(model, X, samples=3000)
    kernel = np.asarray(model.get_layer("dense").kernel)
    np.testing.assert_allclose(found.variance, X**2 @ kernel**2, rtol=0.2)


def test_only_dropout_is_active_and_the_model_is_left_alone():
    norm = layers.BatchNormalization()
    drop = layers.Dropout(0.5)
    model = linear(norm, drop, layers.GaussianNoise(1.0))
    model.compile("sgd", "mse")
    drop.rate = 0.0
    before = [np.asarray(v) for v in model.weights]
    plain = model(X)
    found = mc_predict(model, X, samples=10)
    np.testing.assert_allclose(found.mean, plain, rtol=1e-5)
    np.testing.assert_allclose(found.variance, 0, atol=1e-12)
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    drop.rate = 0.5
    assert np.all(mc_predict(model, X, samples=10).variance > 0)
    np.testing.assert_array_equal(drop(X), X)
    assert "call" not in vars(drop)


@pytest.mark.parametrize(
    "recurrent", thorough_but({"SimpleRNN"}, ["LSTM", "GRU", "SimpleRNN"])
)
def test_recurrent_layers_drop(recurrent):
    x = RNG.normal(size=(3, 4, 2))
    for kwargs in ({"dropout": 0.5}, {"recurrent_dropout": 0.5}, {}):
        layer = getattr(layers, recurrent)(3, seed=1, **kwargs)
        model = keras.Sequential([keras.Input((4, 2)), layer])
        assert np.all((mc_predict(model, x, samples=20).variance > 0) == bool(kwargs))


def test_attention_and_nested_models_drop():
    inputs = keras.Input((4, 2))
    inner = keras.Sequential([keras.Input((4, 2)), layers.SpatialDropout1D(0.5)])
    x = RNG.normal(size=(3, 4, 2))
    attention = layers.MultiHeadAttention(1, 2, dropout=0.5)
    model = keras.Model(inputs, attention(inputs, inputs))
    assert np.all(mc_predict(model, x, samples=20).variance > 0)
    model = keras.Model(inputs, inner(inputs))
    assert np.all(mc_predict(model, x, samples=30).variance > 0)


def test_layers_that_learn_their_noise_are_active():
    for layer in (
        kx.layers.ConcreteDropout(layers.Dense(3), initial_rate=0.4),
        kx.layers.SparseVariationalDense(3, 0.1, initial_log_variance=-1.0),
        kx.layers.VariationalDropout(0.1),
    ):
        model = keras.Sequential([keras.Input((5,)), layer])
        assert np.all(mc_predict(model, X, samples=20).variance > 0)


def test_a_schedule_does_not_notice():
    layer = kx.layers.ScheduledDropout(0.5, 10, schedule="annealed", seed=1)
    model = linear(layer)
    layer(X, training=True)
    assert np.all(mc_predict(model, X, samples=20).variance > 0)
    assert layer.present_rate == 0.45


def test_works_on_live_rates():
    model = linear(layers.Dropout(0.0, name="drop"))
    model.compile("sgd", "mse")
    live = kx.make_live(model, include="rate")["drop/rate"]
    assert np.all(mc_predict(model, X, samples=10).variance < 1e-12)
    live.assign(0.5)
    assert np.all(mc_predict(model, X, samples=10).variance > 0)
    assert "call" in vars(model.get_layer("drop"))  # that of make_live


def test_many_inputs_and_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    a, b = keras.Input((5,), name="a"), keras.Input((5,), name="b")
    y = layers.Dense(1)(layers.Dropout(0.5)(layers.Add()([a, b])))
    found = mc_predict(keras.Model({"a": a, "b": b}, y), {"a": X, "b": X}, samples=10)
    assert found.mean.dtype == found.variance.dtype == np.float32
    assert np.all(found.variance > 0)


def test_replicated_models_predict(strategies):
    with strategies(2).scope():
        model = linear(layers.Dropout(0.5))
    assert np.all(mc_predict(model, X, samples=10).variance > 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": 3}, "`model` must be a keras.Model"),
        ({"samples": 0}, "`samples` must be a positive integer"),
        ({"batch_size": 1.5}, "`batch_size` must be a positive integer"),
        ({"outputs": "classes"}, r"`outputs` must be one of \('values', "),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        mc_predict(**{"model": linear(), "x": X, **arguments})


def test_rejects_models_with_several_outputs():
    inputs = keras.Input((5,))
    drop = layers.Dropout(0.5)
    model = keras.Model(inputs, [drop(inputs), inputs])
    with pytest.raises(ValueError, match="`model` must be a model with one output"):
        mc_predict(model, X)
    assert "call" not in vars(drop)
