"""Callbacks that count batches over the epochs of a `fit`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext._fit._memory import memory_of, recall
from keras_ext.callbacks import HyperparameterScheduler
from keras_ext.callbacks._batch_count import BatchCount

X, Y = np.ones((5, 2), "float32"), np.ones((5, 1), "float32")


def counted(data, **options):
    """What a schedule by steps is asked for in an epoch of five batches and the next.

    Without that of a batch that `fit` begins in vain.
    """
    asked = []

    def schedule(step):
        asked.append(step)
        return 0.5

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dropout(0.1)])
    model.add(keras.layers.Dense(1))
    model.compile("sgd", "mse", **options)
    callback = HyperparameterScheduler({"dropout.*/rate": schedule}, every="step")
    options = {"shuffle": False, "verbose": 0}
    model.fit(data, epochs=2, callbacks=[callback], **options)
    return list(dict.fromkeys(asked))


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_where_fit_does_not_know_how_many_there_are():
    known = tf.data.Dataset.from_tensor_slices((X, Y)).batch(1)
    unknown = known.filter(lambda x, y: True)
    assert counted(unknown, run_eagerly=True) == list(range(11))


def test_where_the_last_execution_is_a_shorter_one():
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(1)
    assert counted(data, steps_per_execution=2) == [0, 2, 4, 5, 7, 9]


def test_it_goes_on_where_another_was():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", steps_per_execution=2)
    callback = keras.callbacks.Callback()
    callback.set_model(model)
    callback.set_params({"steps": 5})
    one, other = BatchCount(), BatchCount()
    assert [one.before(callback, batch) for batch in (0, 2, 4)] == [0, 2, 4]
    recall(other, memory_of(one))
    assert [other.before(callback, batch) for batch in (0, 2)] == [5, 7]
