import keras
import numpy as np
import pytest

from keras_ext._live.places._attention import of_attention

X = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")


def attention(kind, rate):
    if kind == "multi-head":
        layer = keras.layers.MultiHeadAttention(2, 2, dropout=rate, seed=0)
    else:
        layer = keras.layers.GroupQueryAttention(2, 2, 1, dropout=rate, seed=0)
    layer(X, X)
    return layer


@pytest.mark.parametrize("kind", ["multi-head", "grouped"])
def test_a_rate_that_was_raised_from_0_drops_scores(kind):
    layer = attention(kind, 0.0)
    (found,) = of_attention(layer, "block")
    assert (found.path, found.name, found.value) == ("block/dropout", "dropout", 0.0)
    found.prepare()
    (place,) = found.places
    plain = np.array(layer(X, X, training=True))
    np.testing.assert_allclose(plain, layer(X, X), atol=1e-6)
    place(0.5)
    assert np.abs(layer(X, X, training=True) - plain).max() > 0.01
    np.testing.assert_allclose(layer(X, X), plain, atol=1e-6)
    assert layer.get_config()["dropout"] == 0.5


def test_other_layers_are_none():
    assert list(of_attention(keras.layers.Dropout(0.5), "")) == []
