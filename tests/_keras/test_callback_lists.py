import keras
import numpy as np

from keras_ext._keras import _callback_lists


def test_a_method_is_wrapped_for_all_lists(monkeypatch):
    callbacks = keras.callbacks.CallbackList
    monkeypatch.setattr(callbacks, "on_epoch_begin", callbacks.on_epoch_begin)
    told = []

    def around(owner, method, epoch, logs=None):
        told.append(("before", epoch, len(owner.callbacks)))
        method(epoch, logs)
        told.append(("after", epoch, len(owner.callbacks)))

    _callback_lists.put_around("on_epoch_begin", around)
    inner = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: told.append(epoch)
    )
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    model.fit(np.ones((2, 1)), np.ones((2, 1)), verbose=0, callbacks=[inner])
    # With the History that Keras adds.
    assert told == [("before", 0, 2), 0, ("after", 0, 2)]
