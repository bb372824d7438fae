import keras
import numpy as np
from keras import layers

from keras_ext.explain import Explainer
from keras_ext.explain._inputs import Inputs
from keras_ext.explain._squares import squares_of
from tests.explain.models import normal, two_inputs


def pixels():
    """The mean of the left half of an image."""
    inputs = keras.Input((64, 64, 3))
    left = layers.Cropping2D(((0, 0), (0, 32)))(inputs)
    mean = layers.GlobalAveragePooling2D()(left)
    return keras.Model(inputs, layers.Dense(1, kernel_initializer="ones")(mean))


def test_squares_of_large_images_play_and_it_is_said(capsys):
    x = np.ones((1, 64, 64, 3), "float32")
    explainer = Explainer(pixels(), 0 * x)
    assert "Squares of 10 x 10 pixels play" in explainer.reason
    assert "Squares of 10 x 10 pixels play" in capsys.readouterr().out
    assert explainer.method == "permutation"
    found = explainer(x, budget=200)
    assert found.values.shape == (1, 49)
    heat = explainer.spread(found, x).values
    assert heat.shape == x.shape
    np.testing.assert_allclose(heat.sum(), 3.0, rtol=1e-4)
    np.testing.assert_allclose(heat[:, :, 40:], 0.0, atol=1e-6)


def test_only_images_that_are_too_large_are_divided():
    inputs = Inputs(two_inputs(), {"number": normal(2, 2), "tokens": np.ones((2, 3))})
    assert squares_of(inputs, 3) == (None, "")
    image = Inputs(pixels(), normal(1, 64, 64, 3))
    assert squares_of(image, 64 * 64 * 3) == (None, "")
