import keras
import numpy as np
from keras import layers

from keras_ext._anatomy._unrolled import unrolled


def test_layers_are_unrolled_for_a_time_alone():
    model = keras.Sequential([keras.Input((4, 2)), layers.Bidirectional(layers.GRU(3))])
    x = np.random.default_rng(0).normal(size=(2, 4, 2))
    before = np.array(model(x))
    inner = model.layers[0].forward_layer
    with unrolled(model):
        assert inner.unroll
        np.testing.assert_allclose(model(x), before, atol=1e-6)
    assert not inner.unroll
