"""What stands between layers."""

import keras
import keras_tuner
import pytest

from keras_ext import layers
from keras_ext.tuner.spaces import convnet, mlp, recurrent
from keras_ext.tuner.spaces._blocks import (
    CONVOLUTIONAL,
    DROPOUTS,
    dropped,
    initializer,
    normalized,
    num_normalization,
)

LAYERS = {
    "plain": keras.layers.Dropout,
    "gaussian": keras.layers.GaussianDropout,
    "alpha": keras.layers.AlphaDropout,
    "uniform": layers.UniformOut,
    "drop_path": layers.DropPath,
    "spatial": keras.layers.SpatialDropout2D,
    "drop_block": layers.DropBlock2D,
}


@pytest.mark.parametrize("kind", CONVOLUTIONAL)
def test_dropout_of_each_kind_has_the_rate(kind):
    x = keras.Input((4, 4, 2))
    y = dropped(x, {"dropout": kind, "dropout_rate": 0.25})
    if kind == "none":
        assert y is x
        return
    layer = y._keras_history.operation
    assert type(layer) is LAYERS[kind]
    config = layer.get_config()
    assert config.get("rate", config.get("beta")) == 0.25
    assert set(DROPOUTS) < set(CONVOLUTIONAL)


@pytest.mark.parametrize(
    ("make", "shape", "least"),
    [
        (mlp, (2,), {"depth": 1}),
        (convnet, (4, 4, 1), {"stages": 1, "blocks": 1}),
        (recurrent, (2, 3), {"depth": 1, "cell": "gru", "bidirectional": False}),
    ],
)
def test_no_layer_is_dropped_that_has_no_way_past_it(make, shape, least):
    given = {"normalization": "none", "dropout": "drop_path", "dropout_rate": 0.5}
    space = make(shape, 1, width=8, residual=True, **given, **least)
    kinds = [type(layer) for layer in space(keras_tuner.HyperParameters()).layers]
    assert layers.DropPath not in kinds
    deeper = {name: 2 if name == "depth" else value for name, value in least.items()}
    deeper |= {"blocks": 2} if make is convnet else {}
    deeper |= {"pooling": "mean"} if make is recurrent else {}
    space = make(shape, 1, width=8, residual=True, **given, **deeper)
    kinds = [type(layer) for layer in space(keras_tuner.HyperParameters()).layers]
    assert kinds.count(layers.DropPath) == kinds.count(keras.layers.Add) == 1


@pytest.mark.parametrize("kind", ["none", "batch", "layer", "rms"])
def test_normalization_is_counted(kind, num_trained):
    x = keras.Input((7,))
    model = keras.Model(x, keras.layers.Identity()(normalized(x, kind)))
    assert num_trained(model) == num_normalization(kind, 7)


def test_the_initializer_that_suits_the_activation():
    def chosen(activation, name="auto"):
        return initializer({"initializer": name, "activation": activation})

    assert [chosen(a) for a in ("relu", "selu", "tanh")] == [
        "he_normal",
        "lecun_normal",
        "glorot_uniform",
    ]
    assert chosen("relu", "orthogonal") == "orthogonal"
