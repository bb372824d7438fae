import keras
import numpy as np
import pytest
from keras import layers

from keras_ext.explain import Explainer, maps
from tests.explain.models import normal

X = normal(4, 3)


class OwnCall(keras.Model):
    """A functional model whose `call` was overridden, as older code has it."""

    def call(self, inputs):
        return 2.0 * super().call(inputs)


def overridden():
    inputs = keras.Input((3,))
    dropped = layers.Dropout(0.5)(inputs)
    return OwnCall(inputs, layers.Dense(1)(dropped))


class Layered(keras.Model):
    """A model without a `training` argument around layers that have one."""

    def __init__(self):
        super().__init__()
        self.inner = keras.Sequential([layers.Dropout(0.5), layers.Dense(1)])

    def call(self, inputs):
        return 2.0 * self.inner(inputs)


@pytest.mark.parametrize("make", [overridden, Layered])
def test_calls_without_a_training_argument_are_in_inference_mode(make):
    model = make()
    outputs = np.asarray(model(X))[:, 0]
    for method in ("exact", "deep", "expected_gradients"):
        found = Explainer(model, X, method=method)(X)
        total = found.values.sum(axis=1) + found.base_values
        np.testing.assert_allclose(total, outputs, atol=1e-5)
    slopes = maps.saliency(model, X, absolute=False)
    np.testing.assert_allclose(slopes, np.tile(slopes[:1], (4, 1)))
    np.testing.assert_allclose((X * slopes).sum(axis=1), outputs, atol=1e-5)
