import keras
import numpy as np
import pytest

from keras_ext._anatomy._moving_norms import moving_norms
from keras_ext._fit._fit_scope import FitScope
from keras_ext.callbacks.schedules._frozen_statistics import FrozenStatistics

X = np.random.default_rng(0).normal(3.0, 2.0, size=(16, 4)).astype("float32")


@pytest.fixture
def model():
    inner = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()])
    fixed = keras.layers.BatchNormalization(trainable=False)
    model = keras.Sequential([keras.Input((4,)), inner, fixed, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


@pytest.fixture
def scope(model):
    with FitScope.joining(model, "owner") as scope:
        pass
    yield scope
    scope.close()


@pytest.mark.parametrize(
    ("epoch", "thaws_in", "rests"), [(0, 1, True), (1, 1, False), (9, None, False)]
)
def test_one_rests_until_its_epoch(model, scope, epoch, thaws_in, rests):
    (layer,) = moving_norms(model)
    kept = [v.numpy().copy() for v in layer.non_trainable_variables]
    in_training = layer(X, training=True).numpy()
    moved = [v.numpy().copy() for v in layer.non_trainable_variables]
    for v, value in zip(layer.non_trainable_variables, kept, strict=True):
        v.assign(value)
    at_rest = layer(X, training=False).numpy()
    frozen = FrozenStatistics(scope, lambda layer: thaws_in)
    frozen.begin_epoch(epoch)
    found = layer(X, training=True).numpy()
    np.testing.assert_array_equal(found, at_rest if rests else in_training)
    for v, value in zip(
        layer.non_trainable_variables, kept if rests else moved, strict=True
    ):
        np.testing.assert_array_equal(v, value)


def test_what_is_left_is_the_layer_of_keras(model, scope):
    (layer,) = moving_norms(model)
    FrozenStatistics(scope, lambda layer: 1)
    assert "call" in vars(layer)
    scope.close()
    assert "call" not in vars(layer)
