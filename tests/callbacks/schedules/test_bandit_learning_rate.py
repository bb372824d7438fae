import math

import keras
import numpy as np
import pytest

from keras_ext.callbacks import BanditLearningRate
from keras_ext.callbacks.schedules._probed_rate import _fall
from tests.thorough import MATRIX, TRAININGS

X = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
Y = X[:, :1]


def make_model(rate):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate, momentum=0.5), "mse")
    return model


def fit(model, callback, epochs=8):
    options = {"batch_size": 8, "epochs": epochs, "verbose": 0, "shuffle": False}
    return model.fit(X, Y, callbacks=[callback], **options).history


def test_what_makes_the_loss_double_is_taken_back():
    """All arms but the last are far too much: it ends where it can train."""
    model = make_model(0.01)
    bandit = BanditLearningRate(
        (X, Y), arms=[1e3, 1e3, 1.0], every=4, max_multiplier=1e3, seed=0
    )
    before = model.evaluate(X, Y, verbose=0)
    history = fit(model, bandit)
    assert bandit.rollbacks > 0
    # Not finite on the way, and healthy in the end.
    assert min(history["loss"]) < before
    assert float(model.optimizer.learning_rate) == pytest.approx(0.01)
    assert np.isfinite(model.get_weights()[0]).all()


def test_going_back_gives_back_weights_and_slots_but_not_the_count():
    model = make_model(0.01)
    bandit = BanditLearningRate((X, Y), arms=[1.0, 1.0], every=100, seed=0)
    kept = {}

    class Look(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 0 and not kept:
                kept["state"] = state(model)

        def on_train_end(self, logs=None):
            kept["count"] = int(model.optimizer.iterations)
            bandit._go_back()
            kept["after"] = state(model)

    model.fit(X, Y, batch_size=8, callbacks=[Look(), bandit], verbose=0)
    for a, b in zip(kept["state"], kept["after"], strict=True):
        np.testing.assert_array_equal(a, b)
    assert kept["count"] == int(model.optimizer.iterations) == 8


def state(model):
    slots = [v for v in model.optimizer.variables if len(v.shape)]
    return [np.array(keras.ops.convert_to_numpy(v)) for v in [*model.weights, *slots]]


def test_the_reward_is_a_half_for_what_is_usual():
    bandit = BanditLearningRate((X, Y))
    bandit._changes = [0.1, 0.2, 0.3]
    assert bandit._reward(0.2) == pytest.approx(0.5)
    assert bandit._reward(0.5) == pytest.approx(1.0)
    assert _fall(2.0, 1.0) == pytest.approx(math.log(2))
    assert _fall(2.0, math.nan) is None
    assert _fall(-1.0, -2.0) == pytest.approx(1.0)


@pytest.mark.thorough(MATRIX)
def test_replicas_make_no_difference(strategies):
    """Also when it goes back."""
    results = []
    for replicas in (1, 2):
        with strategies(replicas).scope():
            model = make_model(0.01)
        arms = [1e3, 1e3, 1.0]
        bandit = BanditLearningRate((X, Y), arms=arms, every=4, seed=0)
        fit(model, bandit, epochs=3)
        results.append((bandit.rollbacks, *model.get_weights()))
    assert results[0][0] == results[1][0] > 0
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.thorough(TRAININGS)
def test_gets_out_of_a_rate_that_is_far_too_small():
    """To a loss that the rate itself does not come near in the same time."""
    rate = 1e-4
    alone = make_model(rate)
    fit(alone, keras.callbacks.Callback(), epochs=15)
    model = make_model(rate)
    fit(model, BanditLearningRate((X, Y), every=4, seed=1), epochs=15)
    losses = [m.evaluate(X, Y, verbose=0) for m in (alone, model)]
    assert losses[1] < 0.2
    assert not losses[0] < 2 * losses[1]


def test_says_what_arms_are():
    for arms in ([1.0], [0.0, 1.0], 2.0):
        with pytest.raises(ValueError, match=r"`arms` must be a list of two or more"):
            BanditLearningRate((X, Y), arms=arms)
