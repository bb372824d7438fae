"""A Keras that keeps the weights of a layer elsewhere must fail here."""

import keras

from keras_ext._keras._frozen_weights import frozen_weights


def test_weights_that_are_not_trained_are_told_from_what_batches_write():
    norm = keras.layers.BatchNormalization()
    norm.build((None, 2))
    assert frozen_weights([norm]) == []
    norm.trainable = False
    assert [v.name for v in frozen_weights([norm])] == ["gamma", "beta"]
    norm.trainable = True
    assert frozen_weights([norm]) == []
