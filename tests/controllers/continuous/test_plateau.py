import math
import re

import keras
import numpy as np
import pytest

from keras_ext.controllers import Plateau


def factors_of_keras(losses, factor, **options):
    """What `ReduceLROnPlateau` does to a learning rate."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    callback = keras.callbacks.ReduceLROnPlateau("loss", factor, **options)
    callback.set_model(model)
    callback.on_train_begin()
    rates = [1.0]
    for epoch, loss in enumerate(losses):
        callback.on_epoch_end(epoch, {"loss": loss})
        rates.append(float(model.optimizer.learning_rate))
    return np.array(rates[1:]) / np.array(rates[:-1])


@pytest.mark.parametrize(
    ("patience", "cooldown", "min_delta"), [(1, 0, 0.0), (2, 3, 0.0), (3, 1, 0.125)]
)
@pytest.mark.parametrize("mode", ["min", "max"])
def test_moves_when_keras_would(patience, cooldown, min_delta, mode):
    rng = np.random.default_rng(0)
    losses = np.cumsum(rng.normal(-0.05, 0.3, 60)).round(2)
    losses = losses if mode == "min" else -losses
    options = {"patience": patience, "cooldown": cooldown, "mode": mode}
    controller = Plateau(0.5, min_delta=min_delta, **options)
    ours = [controller.update(loss) for loss in losses]
    theirs = factors_of_keras(losses, 0.5, min_delta=min_delta, **options)
    assert min(ours) == 0.5
    np.testing.assert_allclose(ours, theirs)


def test_a_factor_above_one_raises():
    controller = Plateau(factor=4.0, patience=1)
    assert [controller.update(1.0) for _ in range(3)] == [1.0, 4.0, 4.0]


def test_a_sequence_by_hand():
    controller = Plateau(factor=2.0, patience=1, reverse=True)
    sequence = [
        (5.0, 1.0),
        (5.0, 2.0),  # a plateau: the first move
        (4.0, 1.0),  # it pays
        (4.0, 2.0),  # so on in this direction
        (4.5, 0.5),  # it did not pay: back
        (4.0, 0.5),  # better than after the last move: on
        (3.0, 1.0),
        (3.5, 0.5),  # a plateau, but the move paid
        (3.0, 2.0),  # this did not
    ]
    for measurement, factor in sequence:
        assert controller.update(measurement) == factor


@pytest.mark.parametrize("start", [1e-4, 100.0])
@pytest.mark.parametrize("delay", [0, 2])
def test_finds_the_valley_from_either_side(start, delay):
    """Closed loop: the loss is least where the knob is 0.1, and follows late."""
    controller = Plateau(2.0, patience=2, cooldown=delay + 1, reverse=True)
    knobs = [start] * (delay + 1)
    for _ in range(200):
        loss = abs(math.log(knobs[-1 - delay] / 0.1))
        knobs.append(knobs[-1] * controller.update(loss))
    ends = np.array(knobs[-60:])
    # Within two moves of it, and crossing it.
    assert np.abs(np.log2(ends / 0.1)).max() < 2.5
    assert ends.min() < 0.1 < ends.max()


@pytest.mark.parametrize("nothing", [math.nan, math.inf, None])
def test_what_is_no_number_is_no_improvement(nothing):
    controller = Plateau(patience=2)
    assert [controller.update(m) for m in (1.0, nothing, nothing, 0.5)] == [
        1.0,
        1.0,
        0.5,
        1.0,
    ]


def test_rejects_a_factor_that_changes_nothing():
    message = "`factor` must be a number > 0 other than 1. Received: factor=1."
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        Plateau(factor=1)
