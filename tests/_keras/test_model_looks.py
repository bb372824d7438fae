"""Only what `ShownWeights` does not show: see its tests for the rest."""

import inspect

import keras
import numpy as np
import pytest

from keras_ext.optimizers import Lookahead


@pytest.fixture
def model():
    Lookahead("sgd")  # the first wraps the methods
    made = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    made.compile("sgd", "mse")
    return made


def test_methods_keep_their_signature_and_their_errors(model):
    assert "validation_data" in inspect.signature(keras.Model.fit).parameters
    with pytest.raises(TypeError, match="nonsense"):
        model.predict(nonsense=1)
    with pytest.raises(ValueError, match="You called `set_weights"):
        model.set_weights([1.0])


def test_models_with_other_optimizers_or_none_are_as_they_were(model):
    weights = model.get_weights()
    model.set_weights(weights)
    x = np.ones((2, 1))
    model.fit(x, x, verbose=0)
    plain = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    assert plain.predict(x, verbose=0).shape == (2, 1)


def test_methods_that_were_put_back_without_it_are_wrapped_again(model):
    wrapped = keras.Model.get_weights
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.Model, "get_weights", wrapped.__wrapped__)
        Lookahead("sgd")
        assert keras.Model.get_weights is not wrapped.__wrapped__
    Lookahead("sgd")
    # Not twice.
    assert keras.Model.get_weights is wrapped
