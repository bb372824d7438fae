import keras
import numpy as np
import pytest

from keras_ext.callbacks import ReinforcedLearningRate
from tests.thorough import MATRIX, TRAININGS

X = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
Y = X[:, :1]


def make_model(rate):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate, momentum=0.9), "mse")
    return model


def fit(model, callback, epochs):
    options = {"batch_size": 8, "epochs": epochs, "verbose": 0, "shuffle": False}
    return model.fit(X, Y, callbacks=[callback], **options).history


def test_gets_out_of_rates_that_are_far_off():
    """To a loss that the rate itself does not come near in the same time."""
    for rate in (1e-4, 3.0):
        alone, model = make_model(rate), make_model(rate)
        fit(alone, keras.callbacks.Callback(), epochs=8)
        callback = ReinforcedLearningRate((X, Y), every=4, verbose=0)
        history = fit(model, callback, epochs=8)
        losses = [m.evaluate(X, Y, verbose=0) for m in (model, alone)]
        assert not losses[1] < 2 * losses[0]
        last = history["learning_rate_multiplier"][-1]
        assert last > 3 if rate < 1 else last < 0.3
        assert (callback.rollbacks > 0) == (rate > 1)
        assert float(model.optimizer.learning_rate) == pytest.approx(rate)


def test_it_stays_within_its_bounds():
    options = {"every": 2, "min_multiplier": 0.5, "max_multiplier": 2.0}
    callback = ReinforcedLearningRate((X, Y), verbose=0, **options)
    history = fit(make_model(1e-4), callback, epochs=3)
    assert max(history["learning_rate_multiplier"]) == pytest.approx(2.0)


@pytest.mark.thorough(MATRIX)
def test_replicas_make_no_difference(strategies):
    results = []
    for replicas in (1, 2):
        with strategies(replicas).scope():
            model = make_model(3.0)
        callback = ReinforcedLearningRate((X, Y), every=4, verbose=0)
        fit(model, callback, epochs=2)
        results.append(model.get_weights())
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.thorough(TRAININGS)
def test_a_training_that_goes_on_decides_as_one_that_was_not_interrupted(tmp_path):
    whole = make_model(1e-3)
    fit(whole, ReinforcedLearningRate((X, Y), every=4, verbose=0), epochs=4)
    file = tmp_path / "model.keras"
    half = make_model(1e-3)
    options = {"batch_size": 8, "shuffle": False, "verbose": 0}
    callbacks = [
        ReinforcedLearningRate((X, Y), every=4, verbose=0),
        keras.callbacks.ModelCheckpoint(file),
    ]
    half.fit(X, Y, epochs=2, callbacks=callbacks, **options)
    again = keras.models.load_model(file)
    callback = ReinforcedLearningRate((X, Y), every=4, verbose=0)
    again.fit(X, Y, epochs=4, initial_epoch=2, callbacks=[callback], **options)
    for a, b in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
