"""What rides along with a model, when it does not, and who notices."""

import json

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ext as kx
from keras_ext._fit._fit_scope import FitScope
from keras_ext._fit._training_run import TrainingRun

X, Y = np.random.default_rng(0).normal(size=(2, 8, 2)).astype("float32")


class Notes(kx.callbacks.GradientCallback):
    """Counts the epochs that it has seen, and those that it was told to go on from."""

    remembered = ("seen",)

    def install(self, pipeline):
        self.began = 0

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self.seen = 0

    def on_epoch_begin(self, epoch, logs=None):
        if self.began == 0:
            self.began = 1 + self.seen

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        self.seen += 1
        logs["seen"] = self.seen


@pytest.fixture
def model():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="only")])
    model.compile(keras.optimizers.SGD(0.01), "mse", run_eagerly=True)
    return model


def fit(model, *callbacks, **options):
    return model.fit(X, Y, callbacks=list(callbacks), verbose=0, **options)


@pytest.fixture
def saved(model, tmp_path):
    """The weights of the second of two epochs, saved in front of the callback."""
    path = str(tmp_path / "{epoch}.weights.h5")
    save = keras.callbacks.ModelCheckpoint(path, save_weights_only=True)
    fit(model, save, Notes(), epochs=2)
    return path.format(epoch=2)


def test_a_fit_that_begins_there_goes_on(model, saved):
    model.load_weights(saved)
    notes = Notes()
    history = fit(model, notes, initial_epoch=2, epochs=4)
    assert history.history["seen"] == [3, 4]
    # And the next begins anew.
    assert fit(model, notes).history["seen"] == [1]


def test_a_fit_from_the_first_epoch_begins_anew(model, saved):
    model.load_weights(saved)
    assert fit(model, Notes()).history["seen"] == [1]


def test_a_fit_that_begins_elsewhere_says_that_it_begins_anew(model, saved):
    model.load_weights(saved)
    with pytest.warns(UserWarning, match="go on with epoch 2.*initial_epoch=2"):
        history = fit(model, Notes(), initial_epoch=1, epochs=2)
    assert history.history["seen"] == [1]


def test_what_callbacks_change_as_an_epoch_ends_is_in_a_file_written_before(
    model, tmp_path
):
    class Moves(Notes):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            model.get_layer("only").bias.assign([5.0, 6.0])

    path = tmp_path / "moved.weights.h5"
    save = keras.callbacks.ModelCheckpoint(str(path), save_weights_only=True)
    fit(model, save, Moves())
    model.set_weights([0 * w for w in model.get_weights()])
    model.load_weights(path)
    assert model.get_layer("only").bias.numpy().tolist() == [5.0, 6.0]
    resumed = Moves()
    fit(model, resumed, initial_epoch=1, epochs=2)
    assert resumed.logged["epoch"] == [0, 1]


def test_what_is_saved_before_the_first_epoch_goes_on_too(model, saved, tmp_path):
    path = str(tmp_path / "early.weights.h5")
    save = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: model.save_weights(path)
    )
    model.load_weights(saved)
    fit(model, save, Notes(), initial_epoch=2, epochs=3)
    model.load_weights(path)
    assert fit(model, Notes(), initial_epoch=2, epochs=3).history["seen"] == [3]


def test_a_checkpoint_that_waits_is_read_before_there_is_anything_to_save(
    model, tmp_path
):
    checkpoint = tf.train.Checkpoint(model=model)
    save = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: checkpoint.write(str(tmp_path / "saved"))
    )
    fit(model, save, Notes(), epochs=2)
    # `seen` is only there once training has begun.
    checkpoint.read(str(tmp_path / "saved"))
    history = fit(model, Notes(), initial_epoch=2, epochs=3)
    assert history.history["seen"] == [3]


def test_keras_alone_finds_its_own_in_the_file(model, saved, tmp_path):
    model.save_weights(tmp_path / "plain.weights.h5")
    with h5py.File(saved) as along, h5py.File(tmp_path / "plain.weights.h5") as plain:
        assert set(along) - set(plain) == {"_keras_ext_along"}
        assert set(along["optimizer/vars"]) == set(plain["optimizer/vars"])


def test_nothing_rides_along_after_the_end_or_without_our_callbacks(model, tmp_path):
    path = tmp_path / "own.weights.h5"
    save = keras.callbacks.ModelCheckpoint(str(path), save_weights_only=True)
    fit(model, save)
    with h5py.File(path) as file:
        assert "_keras_ext_along" not in file
    fit(model, Notes())
    model.save_weights(path, overwrite=True)
    with h5py.File(path) as file:
        assert "_keras_ext_along" not in file
    assert TrainingRun.present(model) is None
    assert FitScope.present(model) is None


def test_params_are_plain_numbers_afterwards(model):
    batches = kx.data.DynamicBatches(X, Y, batch_size=4)
    history = model.fit(batches, epochs=np.int64(2), verbose=0)
    assert json.loads(json.dumps(history.params))["steps"] == 2


def test_a_stopping_callback_twice_is_an_error(model):
    stop = kx.callbacks.PrecheltEarlyStopping("gl", monitor="loss")
    with pytest.raises(ValueError, match="`callbacks` must be once in the list"):
        fit(model, stop, stop)
    assert int(model.optimizer.iterations) == 0
