"""The probability to be kept is the sigmoid of the input."""

import keras
import numpy as np
import pytest
from scipy.special import expit

from keras_ext.layers import Standout

Z = np.array([-4.0, -1.0, 0.0, 0.5, 3.0], "float32")


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (0.5, -1.0), (0.0, 1.0)])
def test_units_are_kept_by_their_input(alpha, beta):
    layer = Standout("linear", alpha=alpha, beta=beta, seed=1)
    z = np.tile(Z, (4000, 1)) + 1e-3
    y = np.asarray(layer(z, training=True))
    np.testing.assert_array_equal(y[y != 0], z[y != 0])
    # A standard error of 0.008 at most.
    np.testing.assert_allclose(
        (y != 0).mean(axis=0), expit(alpha * Z + beta), atol=0.035
    )


def test_inference_is_the_expected_value():
    y = Standout("relu", alpha=2.0, beta=0.5)(Z)
    np.testing.assert_allclose(y, np.maximum(Z, 0) * expit(2 * Z + 0.5), rtol=1e-6)


def test_saves_its_activation():
    layer = Standout(keras.activations.tanh, alpha=2.0, beta=0.5)
    config = layer.get_config()
    assert config["activation"] == "tanh"
    np.testing.assert_array_equal(Standout.from_config(config)(Z), layer(Z))


@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_rejects_bad_arguments(name):
    with pytest.raises(ValueError, match=f"`{name}` must be a number"):
        Standout(**{name: "1"})
