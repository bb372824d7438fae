"""What stands between layers."""

import keras
import pytest

from keras_ext import layers
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
