"""What lists of callbacks do once the package is imported; without a `fit`."""

import keras
import numpy as np
import pytest

from keras_ext._fit._copyable_callback import CopyableCallback
from keras_ext._fit._training_run import TrainingRun
from keras_ext._fit._watch_trainings import _close_what_is_left, _read, _written


class Ours(CopyableCallback):
    remembered = ("seen",)

    def __init__(self):
        super().__init__()
        self.seen = 0

    def on_epoch_end(self, epoch, logs=None):
        self.seen += 1


@pytest.fixture
def model():
    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])


def listed(model, *callbacks):
    return keras.callbacks.CallbackList(list(callbacks), model=model)


def test_a_list_with_ours_leads_a_run_until_training_ends(model):
    callbacks = listed(model, keras.callbacks.Callback(), Ours())
    run = TrainingRun.present(model)
    assert TrainingRun.of_list(callbacks) is run is not None
    callbacks.on_train_begin()
    callbacks.on_epoch_begin(4)
    assert run.epoch == 4
    callbacks.on_epoch_end(4)
    assert run.epoch == 5
    callbacks.on_train_end()
    assert TrainingRun.present(model) is None


def test_other_lists_and_files_stay_as_they_are(model):
    callbacks = listed(model, keras.callbacks.Callback())
    callbacks.on_epoch_begin(0)
    callbacks.on_epoch_end(0)
    assert TrainingRun.present(model) is None
    assert _written(model) == b""
    _close_what_is_left(model)


def test_a_callback_that_refuses_the_model_leaves_no_run(model):
    class Refuses(Ours):
        def set_model(self, model):
            raise KeyError

    with pytest.raises(KeyError):
        listed(model, Refuses())
    assert TrainingRun.present(model) is None


def test_whoever_saves_while_an_epoch_ends_finds_all_done_with_it(model):
    saved, ours = [], Ours()

    class Saves(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            saved.append((_written(self.model), ours.seen))

    callbacks = listed(model, Saves(), ours)
    callbacks.on_epoch_begin(0)
    callbacks.on_epoch_end(0)
    ((content, seen),) = saved
    # Once, though it comes later in the list.
    assert seen == ours.seen == 1
    other = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    _read(other, content)
    goes_on = Ours()
    listed(other, goes_on).on_epoch_begin(1)
    assert goes_on.seen == 1


def test_the_counts_of_a_training_are_plain_in_the_end(model):
    callbacks = listed(model, Ours())
    callbacks.set_params({"steps": np.int64(3), "epochs": 2, "verbose": True})
    callbacks.on_train_begin()
    callbacks.on_train_end()
    kinds = {name: type(value) for name, value in callbacks.params.items()}
    assert kinds == {"steps": int, "epochs": int, "verbose": bool}
    assert callbacks.params["steps"] == 3
