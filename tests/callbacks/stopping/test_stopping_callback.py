import math

import keras
import numpy as np
import pytest

from keras_ext.callbacks.stopping._stopping_callback import StoppingCallback


class AboveOne(StoppingCallback):
    """Wants to stop while the criterion, given beforehand, is above 1."""

    criterion = "given"

    def __init__(self, values, **options):
        super().__init__(**options)
        self.values = values

    def measure(self, epoch, logs):
        # A weight that tells the epoch.
        self.model.set_weights([np.full((1, 1), float(epoch))])
        return self.values[epoch]

    def verdict(self, value):
        return f"given {value:g} is above 1" if value > 1 else None


def run(values, **options):
    """The epochs of a `fit`, without their steps."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile("sgd", "mse")
    stop = AboveOne(values, **options)
    stop.set_model(model)
    stop.on_train_begin()
    logged = []
    for epoch in range(len(values)):
        logs = {}
        stop.on_epoch_end(epoch, logs)
        logged.append(logs["given"])
        if model.stop_training:
            break
    stop.on_train_end()
    return stop, logged, float(model.get_weights()[0].item())


@pytest.mark.parametrize(
    ("values", "options", "epochs"),
    [
        ([0, 2, 2, 2], {}, 2),
        ([0, 2, 2, 2], {"patience": 2}, 3),
        # A row that is interrupted begins anew; what is unknown does not interrupt it.
        ([2, 0, 2, 2], {"patience": 2}, 4),
        ([2, math.nan, 2, 0], {"patience": 2}, 3),
        ([2, None, 2, 0], {"patience": 2}, 3),
        ([2, 2, 2, 2], {"start_from_epoch": 2}, 3),
        ([2, 2, 2, 2], {"start_from_epoch": 1, "patience": 2}, 3),
        ([math.nan] * 3, {}, 3),
    ],
)
def test_stops_after_so_many_checks_in_a_row(values, options, epochs, capsys):
    stop, logged, _ = run(values, **options)
    assert len(logged) == epochs
    stopped = epochs < len(values) or values[-1] == 2
    assert stop.stopped_epoch == (epochs - 1 if stopped else None)
    assert ("AboveOne" in capsys.readouterr().out) == stopped


def test_what_was_measured_is_logged_and_what_was_not_stays():
    _, logged, _ = run([0.5, None, math.nan, 0.25])
    np.testing.assert_array_equal(logged, [0.5, 0.5, math.nan, 0.25])


@pytest.mark.parametrize(
    ("values", "weight"),
    # Back to where the row began; or, if it never stopped, to nothing.
    [([0, 2, 2, 2], 1.0), ([2, 0, 2, 2], 2.0), ([2, 0, 2, 0], 3.0)],
)
def test_restores_the_weights_where_the_row_began(values, weight):
    assert run(values, patience=2, restore_best_weights=True)[2] == weight


def test_says_why_in_one_line(capsys):
    stop, _, _ = run([0, 2, 3], patience=2)
    assert stop.stopped_by == "given 3 is above 1 for 2 epochs"
    (line,) = capsys.readouterr().out.strip().splitlines()
    assert stop.stopped_by in line
    run([0, 2, 3], patience=2, verbose=0)
    assert not capsys.readouterr().out
