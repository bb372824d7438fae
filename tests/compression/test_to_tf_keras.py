import keras
import pytest

from keras_ext.compression import from_tf_keras, to_tf_keras

# That models are the same there, and come back, is tested where tf_keras is: see
# `tests/bridge/tfmot_bridge.py`, which `.ci/run` runs in an environment of its own.


class Own(keras.Model):
    def call(self, x):
        return x


def test_refuses_what_does_not_say_how_it_is_connected():
    with pytest.raises(ValueError, match="`model` must be a built Sequential or funct"):
        to_tf_keras(Own())
    with pytest.raises(ValueError, match="`into` must be a built Sequential or functi"):
        from_tf_keras(Own(), Own())


def test_refuses_a_source_that_is_no_model():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="`source` must be a tf_keras.Model"):
        from_tf_keras(3, model)
