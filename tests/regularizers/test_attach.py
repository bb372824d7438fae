"""Regularizers in a model that exists."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_ext as kx
from keras_ext._anatomy._sublayers import weight_paths
from keras_ext.regularizers import L2, attach
from tests.thorough import LONG

X = np.random.default_rng(0).normal(size=(4, 8, 6)).astype("float32")


def make_model(reduce=None):
    return keras.Sequential(
        [
            keras.Input((8, 6)),
            layers.Conv1D(4, 3, name="conv"),
            layers.SeparableConv1D(4, 3, name="separable"),
            layers.BatchNormalization(name="norm"),
            reduce or layers.LSTM(3, name="lstm"),
            layers.Dense(2, name="dense"),
        ],
        name="model",
    )


def penalty(model, paths, strength):
    path_of = weight_paths(model)
    chosen = [v for v in model.trainable_variables if path_of[id(v)] in paths]
    return sum(strength * np.sum(np.asarray(v) ** 2) for v in chosen)


def test_the_losses_of_the_model_contain_it():
    model = make_model()
    paths = attach(model, L2(0.5), include="kernel|gamma", exclude="^nothing$")
    assert paths == [
        "conv/kernel",
        "separable/depthwise_kernel",
        "separable/pointwise_kernel",
        "norm/gamma",
        "lstm/lstm_cell/kernel",
        "lstm/lstm_cell/recurrent_kernel",
        "dense/kernel",
    ]
    assert float(sum(model.losses)) == pytest.approx(penalty(model, paths, 0.5))
    # One strength for all.
    found = kx.hyper_variables(model)
    assert list(found) == ["conv/kernel_regularizer/l2"]
    found["conv/kernel_regularizer/l2"].assign(0.25)
    assert float(sum(model.losses)) == pytest.approx(penalty(model, paths, 0.25))


@pytest.mark.thorough(LONG)
def test_a_compiled_model_trains_with_it_from_the_next_fit_on():
    # Recurrent layers take long to trace.
    model = make_model(layers.GlobalAveragePooling1D())
    model.compile(keras.optimizers.SGD(0.0), "mse")
    y = np.ones((4, 2))
    plain = model.fit(X, y, verbose=0).history["loss"][0]
    paths = attach(model, keras.regularizers.L2(0.5))
    loss = model.fit(X, y, verbose=0).history["loss"][0]
    assert loss == pytest.approx(plain + penalty(model, paths, 0.5), rel=1e-4)
    assert model.evaluate(X, y, verbose=0) > 0.9 * penalty(model, paths, 0.5)
    attach(model, None)
    assert model.losses == []
    assert model.fit(X, y, verbose=0).history["loss"][0] == pytest.approx(plain)


def test_it_is_saved_and_cloned(tmp_path):
    model = make_model()
    paths = attach(model, keras.regularizers.L2(0.5), include="kernel|gamma")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert float(sum(loaded.losses)) == pytest.approx(
        penalty(model, paths, 0.5), rel=1e-5
    )
    assert len(keras.models.clone_model(model).losses) == len(paths)


@pytest.mark.parametrize(
    "layer",
    [
        layers.DepthwiseConv2D(3),
        layers.SeparableConv1D(2, 3),
        layers.Conv1DTranspose(2, 3),
        layers.LSTM(2),
        layers.EinsumDense("ab,bc->ac", 2),
        layers.Embedding(5, 2),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_each_kind_of_layer_keeps_it_in_its_config(layer):
    shapes = {layers.DepthwiseConv2D: (8, 8, 2), layers.EinsumDense: (4,)}
    shape = (6,) if isinstance(layer, layers.Embedding) else (8, 2)
    model = keras.Sequential([keras.Input(shapes.get(type(layer), shape)), layer])
    paths = attach(model, keras.regularizers.L2(0.5))
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    assert len(copy.losses) == len(paths)
    np.testing.assert_allclose(sum(copy.losses), sum(model.losses), rtol=1e-6)


def test_of_attention_layers_it_is_not_saved_but_can_be_attached_again(tmp_path):
    inputs = keras.Input((8, 6))
    attention = layers.MultiHeadAttention(2, 3, name="attention")
    model = keras.Model(inputs, attention(inputs, inputs))
    attach(model, L2(0.5), include="query/kernel")
    assert len(model.losses) == 1
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.losses == []
    attach(loaded, L2(0.5), include="query/kernel")
    np.testing.assert_allclose(loaded.losses, model.losses, rtol=1e-6)


def test_make_live_finds_what_is_attached():
    model = make_model()
    attach(model, keras.regularizers.L2(0.5), include="dense/kernel")
    model.compile("sgd", "mse")
    live = kx.make_live(model, include="l2")
    assert list(live) == ["dense/kernel_regularizer/l2"]
    live["dense/kernel_regularizer/l2"].assign(0.0)
    assert float(model.losses[0]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": 3}, "`model` must be a keras.Model"),
        (
            {"include": "knl"},
            "`include` must be such that some weight is left of .*conv/ker",
        ),
        ({"exclude": 3}, "`exclude` must be a regular expression"),
        ({"model": keras.Sequential([layers.Dense(1)])}, "`model.built` must be True"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    arguments = {"model": make_model(), **arguments}
    with pytest.raises(ValueError, match=message):
        attach(**arguments, regularizer=None)
