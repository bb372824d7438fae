import keras
import numpy as np
import pytest

import keras_ext as kx
from keras_ext.callbacks import LearningRateMultiplier
from keras_ext.controllers import PI, Plateau
from tests.callbacks.schedules.test_one_cycle import fit, make_model, weight
from tests.thorough import MATRIX


class Halve:
    """Halves after every epoch."""

    def __init__(self, answer=0.5):
        self.answer = answer

    def update(self, measurement):
        return self.answer


SCHEDULE = kx.schedules.Rex(1.0, 40)


def test_multiplies_a_schedule_which_goes_on_below():
    """Keras's ReduceLROnPlateau raises a TypeError there."""
    model = make_model(keras.optimizers.SGD(SCHEDULE))
    multiplier = LearningRateMultiplier(Halve(), monitor="loss")
    history = fit(model, multiplier)
    assert history["learning_rate_multiplier"] == [0.5, 0.25, 0.125, 0.0625]
    rates = np.asarray(SCHEDULE(np.arange(40))).reshape(4, 10).sum(axis=1)
    expected = rates @ [1.0, 0.5, 0.25, 0.125]
    assert weight(model) == pytest.approx(expected, rel=1e-5)
    assert float(model.optimizer.learning_rate) == float(SCHEDULE(40))


def test_multiplies_a_number_and_gives_it_back():
    model = make_model(keras.optimizers.SGD(1.0))
    plateau = Plateau(factor=0.1, patience=1, mode="max")  # the loss only falls
    for _ in range(2):
        model.set_weights([np.zeros((1, 1))])
        fit(model, LearningRateMultiplier(plateau, monitor="loss"), epochs=3)
        assert weight(model) == pytest.approx(10 + 10 + 1, rel=1e-5)
        assert float(model.optimizer.learning_rate) == pytest.approx(1.0)


def test_takes_changes_of_the_logarithm_within_bounds():
    model = make_model(keras.optimizers.SGD(1.0))
    controller = PI(1000.0, max_step=0.5)  # always too little
    multiplier = LearningRateMultiplier(
        controller, monitor="loss", answers="change", min_multiplier=0.3
    )
    history = fit(model, multiplier)["learning_rate_multiplier"]
    expected = [np.exp(-0.5), np.exp(-1.0), 0.3, 0.3]
    np.testing.assert_allclose(history, expected, rtol=1e-6)


@pytest.mark.thorough(MATRIX)
def test_a_training_that_goes_on_goes_on_with_the_multiplier(tmp_path):
    class Kill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    backup = keras.callbacks.BackupAndRestore(tmp_path)
    model = make_model(keras.optimizers.SGD(SCHEDULE))
    with pytest.raises(KeyboardInterrupt):
        fit(model, LearningRateMultiplier(Halve(), monitor="loss"), backup, Kill())
    model = make_model(keras.optimizers.SGD(SCHEDULE))
    history = fit(model, LearningRateMultiplier(Halve(), monitor="loss"), backup)
    assert history["learning_rate_multiplier"] == [0.125, 0.0625]
    rates = np.asarray(SCHEDULE(np.arange(40))).reshape(4, 10).sum(axis=1)
    assert weight(model) == pytest.approx(rates @ [1.0, 0.5, 0.25, 0.125], rel=1e-5)


def test_waits_for_the_next_validation():
    model = make_model()
    x = np.ones((10, 1), "float32")
    options = {"epochs": 4, "validation_data": (x, x), "verbose": 0}
    history = model.fit(
        x, x, callbacks=[LearningRateMultiplier(Halve())], validation_freq=2, **options
    )
    assert history.history["learning_rate_multiplier"] == [1.0, 0.5, 0.5, 0.25]
    misspelt = LearningRateMultiplier(Halve(), monitor="val_los")
    with pytest.raises(ValueError, match="`monitor` must be one of"):
        model.fit(x, x, callbacks=[misspelt], validation_freq=2, **options)


def test_says_what_is_wrong():
    model = make_model()
    with pytest.raises(ValueError, match=r"`monitor` must be one of.*validation data"):
        fit(model, LearningRateMultiplier(), epochs=1)
    down = LearningRateMultiplier(Halve(-0.5), monitor="loss")
    with pytest.raises(ValueError, match=r'Halve.update.* a number > 0.*answers="chan'):
        fit(model, down, epochs=1)
    with pytest.raises(ValueError, match="one of them moves 'optimizer/learning_rate'"):
        fit(model, LearningRateMultiplier(), kx.callbacks.OneCycle(0.1))
    with pytest.raises(ValueError, match="max_multiplier` must be around 1"):
        LearningRateMultiplier(min_multiplier=2.0)
    keras_own = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    with pytest.raises(ValueError, match=r"`gradient_accumulation_steps` must be None"):
        fit(make_model(keras_own), LearningRateMultiplier())
