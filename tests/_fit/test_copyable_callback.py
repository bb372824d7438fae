from copy import deepcopy

import keras
import numpy as np
import pytest

from keras_ext._fit._copyable_callback import CopyableCallback


class Remembering(CopyableCallback):
    def __init__(self):
        super().__init__()
        self.settings = [1, 2]

    def on_train_begin(self, logs=None):
        self.settings.append(3)
        self.of_this_fit = self.model.optimizer


@pytest.fixture
def used():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    callback = Remembering()
    model.fit(np.ones((2, 1)), np.ones((2, 1)), verbose=0, callbacks=[callback])
    return callback


def test_a_copy_has_nothing_of_the_fit(used):
    copied = deepcopy(used)
    assert copied.model is None
    assert set(vars(copied)) == set(vars(Remembering()))


def test_a_copy_shares_nothing_with_the_original(used):
    for original in (used, Remembering()):
        copied = deepcopy(original)
        assert copied.settings == original.settings
        assert copied.settings is not original.settings


def test_what_a_copy_is_for_can_go_on(used):
    copied = deepcopy(used)
    copied.set_model(used.model)
    copied.on_train_begin()
    assert copied.of_this_fit is used.model.optimizer
    assert set(vars(deepcopy(copied))) == set(vars(Remembering()))


def test_an_object_that_is_copied_twice_stays_one(used):
    first, second = deepcopy([used, used])
    assert first is second
