import numpy as np
import pytest
from keras import layers

from keras_ext._live.places._dropout import noise_shape, of_dropout

ONES = np.ones((40, 50), "float32")


def noisy(layer, value):
    """What the layer makes of ones, after its number was moved from 0."""
    (found,) = of_dropout(layer, "noise")
    assert found.value == 0.0
    found.prepare()
    found.places[0](value)
    np.testing.assert_array_equal(layer(ONES), ONES)
    return np.array(layer(ONES, training=True))


def test_dropout_drops_a_share_and_makes_up_for_it():
    noise = noisy(layers.Dropout(0.0, seed=1), 0.75)
    assert set(np.unique(noise)) == {0.0, 4.0}
    assert np.mean(noise == 0.0) == pytest.approx(0.75, abs=0.05)


@pytest.mark.parametrize(
    ("layer", "value", "deviation"),
    [
        (layers.GaussianDropout(0.0, seed=1), 0.2, 0.5),
        (layers.GaussianNoise(0.0, seed=1), 0.3, 0.3),
    ],
)
def test_gaussian_noise_has_its_deviation(layer, value, deviation):
    noise = noisy(layer, value)
    assert np.std(noise) == pytest.approx(deviation, rel=0.1)
    assert np.mean(noise) == pytest.approx(1.0, abs=0.05)


def test_paths_are_those_of_the_attributes():
    found = [*of_dropout(layers.AlphaDropout(0.1), "a"), *of_dropout(layers.ReLU(), "")]
    found += of_dropout(layers.GaussianNoise(0.2), "b")
    assert [(h.path, h.value) for h in found] == [("a/rate", 0.1), ("b/stddev", 0.2)]


def test_spatial_dropout_drops_whole_maps():
    images = np.ones((2, 3, 4, 5), "float32")
    last = layers.SpatialDropout2D(0.5, data_format="channels_last")
    first = layers.SpatialDropout2D(0.5, data_format="channels_first")
    assert noise_shape(last, images) == (2, 1, 1, 5)
    assert noise_shape(first, images) == (2, 3, 1, 1)
    assert noise_shape(layers.SpatialDropout1D(0.5), images[0]) == (3, 1, 5)
