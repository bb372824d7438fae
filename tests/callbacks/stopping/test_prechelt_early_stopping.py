"""The rules against the sums in the paper, written out."""

import math
import re

import keras
import numpy as np
import pytest

from keras_ext.callbacks import PrecheltEarlyStopping

NAN = math.nan
#           0    1    2    3    4    5    6    7    8    9
VALID = [4.0, 3.0, 2.0, 2.1, 2.2, 2.0, 1.9, 2.0, 2.1, 2.6]
TRAIN = [5.0, 4.0, 3.5, 3.2, 3.0, 2.9, 2.8, 2.7, 2.6, 2.5]


class Watched:
    """What a callback needs of a model; its weight is the number of the epoch."""

    optimizer = None

    def __init__(self):
        self.stop_training = False
        self.weights = None

    def get_weights(self):
        return [self.epoch]

    def set_weights(self, weights):
        self.weights = weights


def run(callback, valid, train=None):
    """Feeds losses until the callback stops; returns what it logged."""
    model = Watched()
    callback.set_model(model)
    callback.on_train_begin()
    logged = []
    for epoch, loss in enumerate(valid):
        model.epoch = epoch
        logs = {"val_loss": loss}
        if train is not None:
            logs["loss"] = train[epoch]
        callback.on_epoch_end(epoch, logs)
        logged.append(logs[callback.criterion])
        if model.stop_training:
            break
    callback.on_train_end()
    return logged, model


def test_generalization_loss():
    stop = PrecheltEarlyStopping("gl", threshold=8)
    logged, _ = run(stop, VALID)
    # 2.2 is the first value that is more than 8 % above the smallest, 2.0.
    assert logged == pytest.approx([0, 0, 0, 5, 10])
    assert stop.stopped_epoch == 4
    assert stop.stopped_by == "generalization loss 10 above 8"


def test_start_from_epoch_is_that_of_keras():
    """The best of the epochs before does not count, and a strip begins there."""
    valid = [1.0, *VALID]
    stop = PrecheltEarlyStopping("gl", threshold=8, start_from_epoch=1)
    logged, _ = run(stop, valid)
    assert logged == pytest.approx([NAN, 0, 0, 0, 5, 10], nan_ok=True)
    ours = PrecheltEarlyStopping("up", strip=2, threshold=1, start_from_epoch=3)
    logged, _ = run(ours, [9, 9, 9, 1.0, 2.0, 1.0, 3.0, 9])
    assert logged == pytest.approx([NAN] * 4 + [0, 0, 1], nan_ok=True)
    keras_rule = keras.callbacks.EarlyStopping(
        "val_loss", mode="min", patience=1, start_from_epoch=5
    )
    ours = PrecheltEarlyStopping("gl", threshold=1e-9, start_from_epoch=5)
    for rule in (keras_rule, ours):
        rule.criterion = "val_loss"
        logged, _ = run(rule, VALID)
        assert len(logged) == 8


def test_progress_quotient():
    # In the strips of four epochs: 1000 * (mean / smallest - 1), by hand.
    first = 1000 * ((5.0 + 4.0 + 3.5 + 3.2) / 4 / 3.2 - 1)
    second = 1000 * ((3.0 + 2.9 + 2.8 + 2.7) / 4 / 2.7 - 1)
    expected = [NAN] * 3 + [5 / first] * 4 + [100 / 19 / second]
    stop = PrecheltEarlyStopping("pq", threshold=0.09, strip=4)
    logged, _ = run(stop, VALID, TRAIN)
    assert logged == pytest.approx(expected, nan_ok=True)
    assert stop.stopped_epoch == 7
    assert "progress quotient 0.0947 above 0.09" in stop.stopped_by


def test_progress_quotient_without_progress():
    stop = PrecheltEarlyStopping("pq", threshold=2, strip=2)
    logged, _ = run(stop, [1.0, 1.0, 1.0, 1.1], [2.0] * 4)
    assert logged == pytest.approx([NAN, 0, 0, math.inf], nan_ok=True)
    assert stop.stopped_epoch == 3


def test_strips_that_rise():
    # Ends of the strips of two: 3.0, 2.1, 2.0, 2.0, 2.6, then as written.
    valid = [*VALID, 9, 2.7, 9, 2.8, 9, 2.9]
    stop = PrecheltEarlyStopping("up", threshold=3, strip=2)
    logged, _ = run(stop, valid)
    assert logged[1::2] == [0, 0, 0, 0, 1, 2, 3]
    assert stop.stopped_epoch == 13
    assert stop.stopped_by == "val_loss has risen over 3 strips of epochs"


@pytest.mark.parametrize("rule", ["gl", "pq", "up"])
def test_restores_the_smallest_validation_loss(rule):
    # Also where it is not at the end of a strip.
    valid = [3.0, 1.0, 1.5, 2.0, 2.5, 3.5, 4.0, 5.0, 6.0]
    arguments = {"threshold": 1, "strip": 3, "restore_best_weights": True}
    stop = PrecheltEarlyStopping(rule, **arguments)
    _, model = run(stop, valid, [2.0 - 0.001 * i for i in range(9)])
    assert model.stop_training
    assert model.weights == [1]


def test_does_not_restore_unless_told_to():
    _, model = run(PrecheltEarlyStopping("gl"), [1.0, 2.0, 3.0, 4.0, 5.0])
    assert model.stop_training
    assert model.weights is None


@pytest.mark.parametrize("rule", ["gl", "pq", "up"])
def test_a_loss_of_nan_decides_nothing(rule):
    valid = [1.0, 1.0, NAN, NAN, 1.0, 1.0, NAN, NAN]
    stop = PrecheltEarlyStopping(rule, strip=2, threshold=1)
    run(stop, valid, [2.0, 1.9, 1.8, 1.7, 1.6, 1.5, 1.4, 1.3])
    assert stop.stopped_epoch is None


def test_a_loss_that_is_not_positive_decides_nothing():
    stop = PrecheltEarlyStopping("gl")
    logged, _ = run(stop, [-1.0, 2.0])
    assert all(map(math.isnan, logged))


def test_a_second_fit_starts_from_nothing():
    stop = PrecheltEarlyStopping("gl")
    for _ in range(2):
        logged, _ = run(stop, [1.0, 1.01])
        assert logged == pytest.approx([0, 1])
        assert stop.stopped_epoch is None


def test_while_fitting():
    x, y = np.random.default_rng(0).normal(size=(2, 32, 4))
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    model.compile(keras.optimizers.SGD(5.0), "mse")  # diverges
    stop = PrecheltEarlyStopping("gl", restore_best_weights=True)
    history = model.fit(
        x, y, validation_split=0.5, epochs=20, callbacks=[stop], verbose=0
    )
    assert history.epoch[-1] == stop.stopped_epoch == 1
    best = min(history.history["val_loss"])
    loss = model.evaluate(x[16:], y[16:], verbose=0)
    assert loss == pytest.approx(best, rel=1e-5)


def test_asks_for_validation_data():
    stop = PrecheltEarlyStopping("gl")
    stop.set_model(Watched())
    stop.on_train_begin()
    with pytest.raises(ValueError, match=r"`monitor` must be one of \['loss'\].*Give"):
        stop.on_epoch_end(0, {"loss": 1.0})


def test_says_which_loss_is_missing():
    stop = PrecheltEarlyStopping("pq", train_monitor="train_loss")
    stop.set_model(Watched())
    stop.on_train_begin()
    with pytest.raises(ValueError, match="`train_monitor` must be one of"):
        stop.on_epoch_end(0, {"loss": 1.0, "val_loss": 1.0})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "best"}, '`rule` must be "gl", "pq" or "up"'),
        ({"threshold": 0}, "`threshold` must be a number > 0 or None"),
        ({"rule": "up", "threshold": 1.5}, "must be an integer >= 1 or None"),
        ({"strip": 1}, "`strip` must be an integer >= 2"),
        ({"monitor": None}, "`monitor` must be the name of a value in the logs"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        PrecheltEarlyStopping(**arguments)
