"""Regularizers of one's own."""

import keras
import pytest

import keras_ext as kx
from keras_ext.regularizers import LiveRegularizer


@keras.saving.register_keras_serializable(package="tests")
class Elastic(LiveRegularizer):
    def __init__(self, strength=1.0, ratio=0.5):
        self.strength = self.live("strength", strength)
        self.ratio = self.live("ratio", ratio, 1.0, "logit")

    def __call__(self, x):
        return self.strength.value * self.ratio.value * keras.ops.sum(x)


def test_strengths_are_hyper_variables_that_take_numbers():
    regularizer = Elastic(2.0, 0.25)
    x = keras.ops.ones((3,))
    assert float(regularizer(x)) == 1.5
    regularizer.ratio = 0.5
    assert float(regularizer(x)) == 3.0
    assert isinstance(regularizer.ratio, kx.HyperVariable)
    regularizer.ratio = 2.0  # clipped
    assert regularizer.get_config() == {"strength": 2.0, "ratio": 1.0}


def test_scales_are_for_controllers():
    regularizer = Elastic()
    assert (regularizer.strength.scale, regularizer.ratio.scale) == ("log", "logit")
    assert regularizer.strength.bounds == (0.0, None)


def test_kernel_and_bias_have_paths_of_their_own():
    dense = keras.layers.Dense(
        1, kernel_regularizer=Elastic(), bias_regularizer=Elastic(), name="dense"
    )
    model = keras.Sequential([keras.Input((2,)), dense])
    assert set(kx.hyper_variables(model)) == {
        f"dense/{weight}_regularizer/{name}"
        for weight in ("kernel", "bias")
        for name in ("strength", "ratio")
    }


def test_goes_through_a_schedule():
    dense = keras.layers.Dense(1, kernel_regularizer=Elastic(), name="dense")
    model = keras.Sequential([keras.Input((2,)), dense])
    model.compile("sgd", "mse")
    schedule = kx.callbacks.HyperparameterScheduler(
        {"kernel_regularizer/strength": lambda epoch: 0.5**epoch}
    )
    x = keras.ops.ones((2, 2))
    history = model.fit(x, x[:, :1], epochs=3, callbacks=[schedule], verbose=0).history
    assert history["dense/kernel_regularizer/strength"] == [1.0, 0.5, 0.25]
    assert float(dense.kernel_regularizer.strength) == 0.25


def test_rejects_values_out_of_range():
    with pytest.raises(ValueError, match=r"`ratio` must be a number in \[0, 1\]"):
        Elastic(ratio=1.5)
