"""A Keras that does not take an adapter as it is must fail here."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext._keras._data_adapter import FitData
from tests.thorough import LONG


class ThreeBatches(FitData):
    """Says how many batches there are when it is asked, each epoch anew."""

    def __init__(self):
        self.epochs = 0
        self.told = []

    def begin_run(self, class_weight):
        self.told.append(class_weight)

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


@pytest.fixture
def model():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    return model


@pytest.mark.thorough(LONG)
def test_fit_takes_an_adapter_as_it_is(model):
    data = ThreeBatches()
    model.fit(data, epochs=2, verbose=0)
    assert int(model.optimizer.iterations) == 6
    assert data.epochs == 2
    assert np.all(np.isfinite(model.get_weights()[0]))


@pytest.mark.thorough(LONG)
def test_it_is_told_what_else_was_given(model):
    data = ThreeBatches()
    model.fit(data, class_weight={0: 2.0}, validation_data=data, verbose=0)
    model.evaluate(data, verbose=0)
    assert data.told == [{0: 2.0}, None, None]
    for given in ({"y": np.ones((6, 1))}, {"sample_weight": np.ones(6)}):
        (name,) = given
        with pytest.raises(
            ValueError, match=f"`{name}` must be None with ThreeBatches"
        ):
            model.fit(data, **given, verbose=0)


def test_other_data_are_not_concerned(model):
    ThreeBatches()
    x, y = np.ones((6, 3)), np.ones((6, 1))
    weighted = model.fit(x, y, class_weight={1: 3.0}, verbose=0, shuffle=False)
    assert np.isfinite(weighted.history["loss"][0])
