import math

import numpy as np
import pytest

from keras_ext.controllers.batch_size import CABS, Measured


def test_wants_the_size_that_decreases_a_noisy_quadratic_most_per_sample():
    """L |w|**2 / 2 with steps of 1 / L: the expected decrease, by trying sizes."""
    curvature, w, noise = 4.0, np.array([0.7, -0.4]), 30.0
    rate = 1.0 / curvature
    loss = curvature * (w @ w) / 2
    gradient = curvature * w

    sizes = np.arange(1.0, 2000.0)
    after = curvature * (np.sum((w - rate * gradient) ** 2) + rate**2 * noise / sizes)
    decrease = (loss - after / 2) / sizes
    wanted = CABS().wanted(
        Measured(8, 8, noise=noise, learning_rate=rate, logs={"loss": loss})
    )
    assert sizes[np.argmax(decrease)] == pytest.approx(wanted, abs=1.0)


def test_counts_the_gain_of_the_learning_rate():
    arguments = {"noise": 100.0, "learning_rate": 0.1, "logs": {"loss": 0.5}}
    assert CABS().wanted(Measured(8, 8, **arguments)) == 20.0
    assert CABS().wanted(Measured(8, 8, gain=2.0, **arguments)) == 40.0
    assert CABS(scale=3.0).wanted(Measured(8, 8, **arguments)) == pytest.approx(60.0)
    assert CABS(min_loss=0.25).wanted(Measured(8, 8, **arguments)) == 40.0


@pytest.mark.parametrize(
    "known",
    [
        {},
        {"noise": 1.0},
        {"noise": 1.0, "logs": {"loss": 1.0}},
        {"noise": 1.0, "learning_rate": 0.1, "logs": {"loss": math.nan}},
        {"noise": 1.0, "learning_rate": 0.1, "logs": {"loss": -1.0}},
        {"noise": -1.0, "learning_rate": 0.1, "logs": {"loss": 1.0}},
    ],
)
def test_keeps_the_size_while_something_is_unknown(known):
    assert CABS().update(Measured(16, 8, **known)) == 16


def test_shrinks_unless_told_not_to():
    low = {"noise": 1.0, "learning_rate": 0.1, "logs": {"loss": 1.0}}
    assert CABS().update(Measured(16, 8, **low)) == 8
    assert CABS(shrink=False).update(Measured(16, 8, **low)) == 16
