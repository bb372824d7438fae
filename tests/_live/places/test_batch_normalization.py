import keras
import numpy as np

from keras_ext._live.places._batch_normalization import of_batch_normalization


def test_the_momentum_that_is_put_there_moves_the_statistics():
    layer = keras.layers.BatchNormalization(momentum=0.9)
    layer.build((None, 1))
    (found,) = of_batch_normalization(layer, "block/norm")
    assert (found.path, found.value) == ("block/norm/momentum", 0.9)
    found.places[0](0.25)
    layer(np.full((4, 1), 8.0, "float32"), training=True)
    # From 0 by three quarters of the way.
    np.testing.assert_allclose(layer.moving_mean, [6.0])


def test_other_normalizations_have_none():
    assert list(of_batch_normalization(keras.layers.LayerNormalization(), "")) == []
