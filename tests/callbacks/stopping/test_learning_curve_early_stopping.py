import keras
import numpy as np
import pytest

from keras_ext.callbacks import LearningCurveEarlyStopping


def play(callback, losses, epochs=100):
    """The epochs that are trained with these losses."""
    callback.set_params({"epochs": epochs})
    callback.set_model(keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]))
    callback.model.stop_training = False
    callback.on_train_begin()
    told = []
    for epoch, loss in enumerate(losses):
        logs = {"val_loss": loss}
        callback.on_epoch_end(epoch, logs)
        told.append(logs["improvement_probability"])
        if callback.model.stop_training:
            break
    callback.on_train_end()
    return told


EPOCHS = np.arange(1.0, 41)
RISING = 0.5 + np.exp(-0.5 * EPOCHS) + 0.02 * EPOCHS
FALLING = 0.3 + EPOCHS**-0.5


def test_stops_what_rises_and_not_what_falls(capsys):
    stop = LearningCurveEarlyStopping()
    told = play(stop, RISING)
    assert np.isnan(told[:5]).all()
    assert told[-1] < 0.05
    assert told[-2] < 0.05
    assert stop.stopped_epoch == len(told) - 1 < 30
    assert "val_loss will improve with probability" in capsys.readouterr().out
    assert len(play(LearningCurveEarlyStopping(), FALLING)) == 40


def test_looks_no_further_than_the_last_epoch():
    """A fall too slow to matter until then."""
    slow = 1.0 - 1e-3 * EPOCHS
    short = LearningCurveEarlyStopping(min_delta=0.05, verbose=0)
    assert len(play(short, slow, epochs=45)) < 20
    longer = LearningCurveEarlyStopping(min_delta=0.05, total_epochs=10_000, verbose=0)
    assert len(play(longer, slow, epochs=45)) == 40


def test_what_is_not_finite_decides_nothing():
    losses = [*FALLING[:8], np.nan, np.inf]
    told = play(LearningCurveEarlyStopping(), losses)
    assert np.isfinite(told[5:8]).all()
    assert np.isnan(told[8:]).all()


def test_says_what_is_not_in_the_logs():
    with pytest.raises(ValueError, match=r"`monitor` must be one of \['val_loss'\]"):
        play(LearningCurveEarlyStopping(monitor="loss"), [1.0])
