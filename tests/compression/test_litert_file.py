import keras
import numpy as np
import pytest

from keras_ext.compression import LiteRTFile, to_litert
from tests.thorough import LONG


@pytest.mark.thorough(LONG)
def test_several_inputs_and_outputs_keep_their_order(tmp_path):
    first, second = keras.Input((3,)), keras.Input((2,))
    heads = [
        keras.layers.Dense(4)(first),
        keras.layers.Dense(1)(second),
        keras.layers.Dense(2)(keras.layers.Concatenate()([second, first])),
    ]
    model = keras.Model([first, second], heads)
    to_litert(model, tmp_path / "m.tflite")
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(5, n)).astype("float32") for n in (3, 2)]
    # In batches of several sizes.
    actual = LiteRTFile(tmp_path / "m.tflite").predict(x, batch_size=2)
    for y, expected in zip(actual, model(x), strict=True):
        np.testing.assert_allclose(y, expected, atol=1e-5)


def test_rejects_what_is_not_there():
    with pytest.raises(ValueError, match=r"`path` must be a \.tflite file"):
        LiteRTFile("nowhere.tflite")
