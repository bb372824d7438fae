"""A Keras that does not take an adapter as it is must fail here."""

import keras
import numpy as np
import tensorflow as tf

from keras_ext._keras._data_adapter import DataAdapter


class ThreeBatches(DataAdapter):
    """Says how many batches there are when it is asked, each epoch anew."""

    def __init__(self):
        self.epochs = 0

    def get_tf_dataset(self):
        x, y = tf.ones((2, 3)), tf.ones((2, 1))
        return tf.data.Dataset.from_tensors((x, y)).repeat(3)

    @property
    def num_batches(self):
        return 3

    @property
    def batch_size(self):
        return 2

    @property
    def has_partial_batch(self):
        return False

    @property
    def partial_batch_size(self):
        return None

    def on_epoch_begin(self):
        self.epochs += 1


def test_fit_takes_an_adapter_as_it_is():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    data = ThreeBatches()
    model.fit(data, epochs=2, verbose=0)
    assert int(model.optimizer.iterations) == 6
    assert data.epochs == 2
    assert np.all(np.isfinite(model.get_weights()[0]))
