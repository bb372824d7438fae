import types

import keras
import pytest

from keras_ext.compression._tf_keras_layers import LayerMaker

layers = keras.layers


class Dense:
    """Takes what a layer of Keras 2 does, and keeps it."""

    def __init__(self, units, activation=None, use_bias=True, **kwargs):
        self.given = {"units": units, "activation": activation, "use_bias": use_bias}
        self.given |= kwargs
        self.trainable = True


class LeakyReLU:
    def __init__(self, alpha=0.3, **kwargs):
        self.given = {"alpha": alpha, **kwargs}


def register(package):
    return lambda function: function


@pytest.fixture
def maker():
    """With a few layers in the place of tf_keras; the true one is in `tests/bridge`."""
    kinds = types.SimpleNamespace(Dense=Dense, LeakyReLU=LeakyReLU)
    saving = types.SimpleNamespace(register_keras_serializable=register)
    return LayerMaker(types.SimpleNamespace(layers=kinds, saving=saving))


def test_takes_over_what_both_know_and_leaves_out_what_is_copied(maker):
    layer = layers.Dense(3, "relu", use_bias=False, name="a", dtype="mixed_bfloat16")
    layer.trainable = False
    made = maker.made(layer)
    assert made.given == {
        "units": 3,
        "activation": "relu",
        "use_bias": False,
        "name": "a",
        "dtype": "mixed_bfloat16",
    }
    assert made.trainable is False


def test_what_is_computed_differently_there_is_that_of_keras_3(maker):
    made = maker.made(layers.Dense(3, "hard_sigmoid"))
    function = made.given["activation"]
    assert function.__name__ == "keras3_hard_sigmoid"
    # Keras 2 gives 0.7.
    assert float(function(keras.ops.ones(()))) == pytest.approx(4 / 6)
    assert maker.made(layers.LeakyReLU(0.2)).given["alpha"] == 0.2


def test_refuses_what_is_not_there_by_name(maker):
    with pytest.raises(ValueError, match="without ELU, which tf_keras does not have"):
        maker.made(layers.ELU())
    with pytest.raises(ValueError, match="without lora_rank=2, which tf_keras does"):
        maker.made(layers.Dense(3, lora_rank=2))
