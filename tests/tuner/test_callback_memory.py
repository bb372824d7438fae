"""What Keras's callbacks know comes back, and nothing else is touched."""

import keras
import numpy as np

import keras_ext as kx
from keras_ext._fit._packed import packed, unpacked
from keras_ext.tuner._callback_memory import memory_of_callbacks, recall_callbacks


def test_patience_and_best_weights_come_back_through_bytes():
    first = keras.callbacks.EarlyStopping("loss", patience=2)
    first.wait, first.best, first.best_weights = 1, 0.5, [np.ones(3), np.zeros((1, 2))]
    own = keras.callbacks.LambdaCallback(on_epoch_end=print)
    own.seen, own.params = {"a": [1, (2, None)]}, {"epochs": 3}
    ours = kx.callbacks.LayerwiseAdaptiveClipping()
    bytes_of = packed(memory_of_callbacks([ours, first, own]))
    first.min_delta = -1.0  # an argument: turned by Keras when it begins
    again = keras.callbacks.EarlyStopping("loss", patience=2)
    other = keras.callbacks.LambdaCallback(on_epoch_end=print)
    other.seen, other.params = {}, {"epochs": 9}
    recall_callbacks([ours, again, other], unpacked(bytes_of))
    assert (again.wait, again.best, again.min_delta) == (1, 0.5, 0)
    np.testing.assert_array_equal(again.best_weights[0], np.ones(3))
    assert other.seen == {"a": [1, (2, None)]}
    assert other.params == {"epochs": 9}
    assert other.on_epoch_end is print
