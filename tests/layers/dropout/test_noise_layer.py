import keras
import numpy as np
import pytest

from keras_ext import HyperVariable
from keras_ext.layers.dropout._noise_layer import (
    DroppingLayer,
    NoiseLayer,
    checked_noise_shape,
)

X = np.ones((4, 3), "float32")


class Shift(NoiseLayer):
    def __init__(self, by, **kwargs):
        super().__init__(**kwargs)
        self.by = HyperVariable(by, "by")

    def noisy(self, inputs):
        noise = keras.random.uniform(inputs.shape, seed=self.seed_generator)
        return inputs + self.by.value * (1.0 + noise)


def test_it_is_noisy_only_while_training():
    layer = Shift(2.0)
    np.testing.assert_array_equal(layer(X), X)
    noisy = np.array(layer(X, training=True))
    assert (noisy >= 3.0).all()
    assert (noisy <= 5.0).all()
    assert layer.compute_output_shape((None, 3)) == (None, 3)


def test_a_seed_gives_the_same_noise_again():
    first, second = (np.array(Shift(2.0, seed=7)(X, training=True)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    other = np.array(Shift(2.0, seed=8)(X, training=True))
    assert not np.array_equal(first, other)


def test_sample_draws_past_what_stands_in_for_call():
    layer = Shift(2.0)
    layer.build(X.shape)
    object.__setattr__(layer, "call", lambda inputs, training=False: None)
    assert (np.array(layer.sample(keras.ops.convert_to_tensor(X))) >= 3.0).all()


def test_the_config_has_the_present_number_and_the_seed():
    layer = Shift(2.0, seed=7, name="shift")
    layer.by = 0.5
    config = layer.get_config()
    assert (config["by"], config["seed"], config["name"]) == (0.5, 7, "shift")
    assert Shift.from_config(config).get_config() == config


@pytest.mark.parametrize("rate", [-0.1, 0.96, "half", np.nan])
def test_a_rate_is_one_that_leaves_something(rate):
    with pytest.raises(ValueError, match="`rate` must be a number"):
        DroppingLayer(rate)
    layer = DroppingLayer(0.95)
    layer.rate = 2.0
    assert float(layer.rate) == pytest.approx(0.95)


def test_a_noise_shape_is_of_positive_integers_and_none():
    assert checked_noise_shape(None) is None
    assert checked_noise_shape([None, 1, 3]) == (None, 1, 3)
    for wrong in (3, "13", [0, 1], [1.0], [True], [-1]):
        with pytest.raises(ValueError, match="`noise_shape` must be a list of integ"):
            checked_noise_shape(wrong)
