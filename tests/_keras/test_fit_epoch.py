"""Being told which epoch begins."""

import keras
import numpy as np
import pytest

from keras_ext._keras._fit_epoch import take_epoch, watch_epochs

X, Y = np.ones((4, 2)), np.ones((4, 1))


class Data(keras.utils.PyDataset):
    """Notes which epoch is told when an epoch of it begins."""

    def __init__(self):
        super().__init__()
        self.epochs = []

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return X, Y

    def on_epoch_begin(self):
        self.epochs.append(take_epoch())


@pytest.fixture
def model():
    watch_epochs()
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    return model


def test_the_data_of_fit_are_told_and_nobody_else(model):
    data, other, later = Data(), Data(), Data()
    callback = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: model.evaluate(other, verbose=0),
        on_epoch_end=lambda epoch, logs: model.evaluate(later, verbose=0),
    )
    model.fit(data, epochs=4, initial_epoch=2, callbacks=[callback], verbose=0)
    assert [e for e in data.epochs if e is not None] == [2, 3]
    assert set(other.epochs) == set(later.epochs) == {None}


def test_nothing_is_left(model):
    """The epochs of arrays, which nobody takes, and of a `fit` that fails."""
    model.fit(X, Y, epochs=2, verbose=0)
    assert take_epoch() is None

    class Fails(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            raise KeyError

    with pytest.raises(KeyError):
        model.fit(X, Y, callbacks=[Fails()], verbose=0)
    assert take_epoch() is None
