"""Monte-Carlo prediction, against closed forms of linear models."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from keras import layers
from scipy.special import expit, softmax
from scipy.stats import entropy

import keras_ext as kx
from keras_ext.uncertainty import mc_predict
from tests.thorough import LONG, MATRIX

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
        pytest.param("Dropout", True, marks=pytest.mark.thorough(MATRIX)),
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


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
@pytest.mark.parametrize("units", [1, 3])
def test_uncertainty_is_split_as_in_closed_form(units, kind):
    # One input: it is dropped, or doubled.
    activation = {1: "sigmoid", 3: "softmax"}[units]
    dense = layers.Dense(
        units, activation if kind == "probabilities" else None, use_bias=False
    )
    model = keras.Sequential([keras.Input((1,)), layers.Dropout(0.5, seed=1), dense])
    kernel = np.array([[2.0, 1.0, -1.0]])[:, :units]
    dense.kernel.assign(kernel)
    found = mc_predict(model, np.ones((1, 1)), num_samples=4000, kind=kind)

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
    found = mc_predict(model, X, num_samples=5, kind="logits")
    p = softmax(model(X), axis=-1)
    np.testing.assert_allclose(found.mean, p, rtol=1e-5)
    np.testing.assert_allclose(found.entropy, entropy(p, axis=-1), rtol=1e-4)
    np.testing.assert_allclose(found.mutual_information, 0, atol=1e-6)
    np.testing.assert_allclose(found.variance, 0, atol=1e-12)


def test_variance_survives_a_large_mean():
    model = linear(layers.Dropout(0.5, seed=1), units=1)
    model.get_layer("dense").bias.assign([3e3])
    found = mc_predict(model, X, num_samples=3000)
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
    found = mc_predict(model, X, num_samples=10)
    np.testing.assert_allclose(found.mean, plain, rtol=1e-5)
    np.testing.assert_allclose(found.variance, 0, atol=1e-12)
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    drop.rate = 0.5
    assert np.all(mc_predict(model, X, num_samples=10).variance > 0)
    np.testing.assert_array_equal(drop(X), X)
    assert "call" not in vars(drop)


@pytest.mark.parametrize("recurrent", ["LSTM", "GRU", "SimpleRNN"])
@pytest.mark.thorough(LONG)
def test_recurrent_layers_drop(recurrent):
    x = RNG.normal(size=(3, 4, 2))
    for kwargs in ({"dropout": 0.5}, {"recurrent_dropout": 0.5}):
        layer = getattr(layers, recurrent)(3, seed=1, **kwargs)
        model = keras.Sequential([keras.Input((4, 2)), layer])
        assert np.all(mc_predict(model, x, num_samples=20).variance > 0)


def test_stacked_cells_drop():
    cells = [layers.GRUCell(3), layers.GRUCell(3, dropout=0.5)]
    model = keras.Sequential([keras.Input((2, 2)), layers.RNN(cells)])
    x = RNG.normal(size=(3, 2, 2))
    assert np.all(mc_predict(model, x, num_samples=20).variance > 0)


def test_a_recurrent_layer_without_dropout_is_refused():
    model = keras.Sequential([keras.Input((4, 2)), layers.GRU(3)])
    with pytest.raises(ValueError, match="`model` must be one with a layer that drop"):
        mc_predict(model, np.ones((1, 4, 2)))


def test_attention_and_nested_models_drop():
    inputs = keras.Input((4, 2))
    inner = keras.Sequential([keras.Input((4, 2)), layers.SpatialDropout1D(0.5)])
    x = RNG.normal(size=(3, 4, 2))
    attention = layers.MultiHeadAttention(1, 2, dropout=0.5)
    model = keras.Model(inputs, attention(inputs, inputs))
    assert np.all(mc_predict(model, x, num_samples=20).variance > 0)
    for kind in (layers.Attention, layers.AdditiveAttention):
        model = keras.Model(inputs, kind(dropout=0.5)([inputs, inputs]))
        assert np.all(mc_predict(model, x, num_samples=20).variance > 0)
    model = keras.Model(inputs, inner(inputs))
    assert np.all(mc_predict(model, x, num_samples=30).variance > 0)


def test_layers_that_learn_their_noise_are_active():
    for layer in (
        kx.layers.ConcreteDropout(layers.Dense(3), initial_rate=0.4),
        kx.layers.SparseVariationalDense(3, 0.1, initial_log_variance=-1.0),
        kx.layers.VariationalDropout(0.1),
    ):
        model = keras.Sequential([keras.Input((5,)), layer])
        assert np.all(mc_predict(model, X, num_samples=20).variance > 0)


def test_a_schedule_does_not_notice():
    layer = kx.layers.ScheduledDropout(0.5, 10, schedule="annealed", seed=1)
    model = linear(layer)
    layer(X, training=True)
    assert np.all(mc_predict(model, X, num_samples=20).variance > 0)
    assert layer.present_rate == 0.45


def test_works_on_live_rates():
    model = linear(layers.Dropout(0.0, name="drop"))
    model.compile("sgd", "mse")
    live = kx.make_live(model, include="rate")["drop/rate"]
    assert np.all(mc_predict(model, X, num_samples=10).variance < 1e-12)
    live.assign(0.5)
    assert np.all(mc_predict(model, X, num_samples=10).variance > 0)
    assert "call" in vars(model.get_layer("drop"))  # that of make_live


def test_many_inputs_and_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    a, b = keras.Input((5,), name="a"), keras.Input((5,), name="b")
    y = layers.Dense(1)(layers.Dropout(0.5)(layers.Add()([a, b])))
    model = keras.Model({"a": a, "b": b}, y)
    found = mc_predict(model, {"a": X, "b": X}, num_samples=10)
    assert found.mean.dtype == found.variance.dtype == np.float32
    assert np.all(found.variance > 0)


def test_replicated_models_predict(strategies):
    with strategies(2).scope():
        model = linear(layers.Dropout(0.5))
    assert np.all(mc_predict(model, X, num_samples=10).variance > 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": 3}, "`model` must be a keras.Model"),
        *(
            ({"x": x}, "`x` must be arrays of one row or more, or a data set")
            for x in (None, [], {}, "x", 3.0, [None], np.zeros((0, 5)), np.array(1.0))
        ),
        ({"num_samples": 0}, "`num_samples` must be an integer >= 1"),
        ({"batch_size": 1.5}, "`batch_size` must be an integer >= 1"),
        ({"kind": "classes"}, '`kind` must be "values", "probabilities" or "logits"'),
        ({"kind": ["values"] * 2}, "`kind` must be 1 of .*, one for each output"),
        ({"kind": {"a": "logits"}}, r"`kind` must be for some of the .*\['dense'\]"),
        ({"outputs": "classes"}, r"`outputs` must be .*; the outputs are \['0', '1'"),
        ({"outputs": ("top", 3)}, "`outputs` must be at most 2"),
        ({"model": linear()}, "`model` must be one with a layer that drops"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        mc_predict(**{"model": linear(layers.Dropout(0.5)), "x": X, **arguments})


def two_outputs():
    """Twice a dropped input, and a class of it; and the moments of both."""
    inputs = keras.Input((5,), name="x")
    dropped = layers.Dropout(0.25, seed=1)(inputs)
    size = layers.Dense(1, use_bias=False, name="size")(dropped)
    sort = layers.Dense(3, use_bias=False, name="sort")(dropped)
    return keras.Model(inputs, [size, sort])


FORMS = {
    "list": lambda a, b: [a, b],
    "dictionary": lambda a, b: {"b": b, "a": a},
    "batches": lambda a, b: tf.data.Dataset.from_tensor_slices(
        ({"a": a, "b": b}, np.zeros(7))
    ).batch(3),
    "frame": lambda a, b: pd.DataFrame({"b": b[:, 0], "a": a[:, 0]}),
}


@pytest.mark.parametrize("form", FORMS)
def test_data_are_those_of_predict(form):
    a, b = keras.Input((1,), name="a"), keras.Input((1,), name="b")
    y = layers.Subtract()([layers.Dropout(0.0)(a), b])
    model = keras.Model([a, b] if form == "list" else {"a": a, "b": b}, y)
    found = mc_predict(
        model, FORMS[form](X[:, :1], X[:, 1:2]), num_samples=2, batch_size=np.int64(4)
    )
    np.testing.assert_allclose(found.mean, X[:, :1] - X[:, 1:2], rtol=1e-6)
    if form == "frame":
        with pytest.raises(ValueError, match=r"`x` must be a DataFrame of the columns"):
            mc_predict(model, pd.DataFrame(X, columns=list("abcde")))


def test_frames_and_elements_without_axes():
    model = linear(layers.Dropout(0.0))
    found = mc_predict(model, pd.DataFrame(X), num_samples=2)
    np.testing.assert_allclose(found.mean, model(X), rtol=1e-5)
    scalar = keras.Input(())
    drop = layers.Dropout(0.0)(layers.Reshape((1,))(scalar))
    found = mc_predict(keras.Model(scalar, drop), X[:, 0], num_samples=2)
    np.testing.assert_allclose(found.mean, X[:, :1])


def test_several_outputs_come_as_predict_returns_them():
    model = two_outputs()
    found = mc_predict(model, X, num_samples=2000)
    assert [part.shape for part in found.mean] == [(7, 1), (7, 3)]
    for layer, mean, variance in zip(("size", "sort"), *found[:2], strict=True):
        kernel = np.asarray(model.get_layer(layer).kernel)
        expected = 0.25 / 0.75 * X**2 @ kernel**2
        np.testing.assert_allclose(variance, expected, rtol=0.2)
        assert np.all(np.abs(mean - X @ kernel) < 5 * np.sqrt(expected / 2000))
    assert found.entropy is found.mutual_information is None
    named = keras.Model(model.inputs, dict(zip("ab", model.outputs, strict=True)))
    found = mc_predict(named, X, num_samples=3, kind={"b": "logits"})
    assert {name: part.shape for name, part in found.mean.items()} == {
        "a": (7, 1),
        "b": (7, 3),
    }
    np.testing.assert_allclose(found.mean["b"].sum(axis=1), 1.0, rtol=1e-5)
    assert found.entropy["a"] is None
    assert found.entropy["b"].shape == found.mutual_information["b"].shape == (7,)


@pytest.mark.parametrize(
    ("outputs", "columns", "uncertain"),
    [
        (0, [0], None),
        (-1, [3], (7,)),
        ("size", [0], None),
        ("sort", [1, 2, 3], (7,)),
        (["sort[2]", "size"], [3, 0], (7,)),
        (["size"], [0], None),
    ],
)
def test_outputs_are_chosen_as_in_explainer(outputs, columns, uncertain):
    model = two_outputs()
    for layer in model.layers:
        if isinstance(layer, layers.Dropout):
            layer.rate = 0.0
    kind = ["values", "logits"]
    found = mc_predict(model, X, num_samples=2, outputs=outputs, kind=kind)
    size, sort = model(X)
    expected = np.concatenate([size, softmax(sort, axis=-1)], axis=1)
    np.testing.assert_allclose(found.mean, expected[:, columns], rtol=1e-5)
    assert found.variance.shape == found.mean.shape
    if uncertain is None:
        assert found.entropy is None
    else:
        whole = entropy(expected[:, 1:], axis=1)
        np.testing.assert_allclose(found.entropy, whole, rtol=1e-4)


def test_the_highest_of_each_row_and_functions():
    model = linear(layers.Dropout(0.0), units=4)
    y = np.asarray(model(X))
    found = mc_predict(model, X, num_samples=2, outputs=("top", 2))
    np.testing.assert_allclose(found.mean, -np.sort(-y, axis=1)[:, :2], rtol=1e-5)
    found = mc_predict(
        model, X, num_samples=2, outputs=lambda y: y[:, 0] - y[:, 1], kind="values"
    )
    np.testing.assert_allclose(found.mean, y[:, 0] - y[:, 1], rtol=1e-4, atol=1e-5)


def test_predict_and_the_model_are_as_before():
    model = two_outputs()
    before = model.predict(X, verbose=0)
    function = model.predict_function
    mc_predict(model, X, num_samples=2)
    assert model.predict_function is function
    assert "predict_step" not in vars(model)
    for old, new in zip(before, model.predict(X, verbose=0), strict=True):
        np.testing.assert_array_equal(old, new)
    with pytest.raises(ValueError, match="`outputs` must be"):
        mc_predict(model, X, outputs="colour")
    assert model.predict_function is function
    assert "call" not in vars(model.layers[1])


def test_wide_numbers_stay_wide():
    keras.config.set_dtype_policy("float64")
    model = linear(layers.Dropout(0.5))
    assert mc_predict(model, X, num_samples=2).mean.dtype == np.float64
