"""What rides along in files of Keras, in each of their formats."""

import keras
import pytest

from keras_ext._keras import _saved_along


@pytest.fixture
def read(monkeypatch):
    """What was read, while "content" is saved with the outer one of two models."""
    found = []
    monkeypatch.setattr(_saved_along, "_along", type(_saved_along._along)())
    monkeypatch.setattr(keras.Model, _saved_along._NAME, None)
    _saved_along.save_along(
        lambda model: b"content" if model.name == "outer" else b"",
        lambda model, content: found.append((model.name, content)),
    )
    return found


def make_model():
    inner = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)], name="inner")
    model = keras.Sequential([keras.Input((2,)), inner], name="outer")
    model.compile("sgd", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.mark.parametrize("name", ["a.keras", "a.weights.h5"])
def test_is_read_back(name, read, tmp_path):
    path = tmp_path / name
    model = make_model()
    if name.endswith(".keras"):
        model.save(path)
        keras.saving.load_model(path)
    else:
        model.save_weights(path)
        make_model().load_weights(path)
    assert read == [("outer", b"content")]
