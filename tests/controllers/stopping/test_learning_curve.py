import numpy as np
import pytest
import scipy.stats

from keras_ext.controllers.stopping._learning_curve import (
    _fitted,
    _student,
    improvement_probability,
)

EPOCHS = np.arange(1.0, 201)
NOISE = np.random.default_rng(0).normal(size=200)


@pytest.mark.parametrize("noise", [0.0, 0.005])
@pytest.mark.parametrize(
    "curve",
    [0.3 + EPOCHS**-0.5, 0.3 + 2 * np.exp(-0.05 * EPOCHS), 1 / np.log(EPOCHS + 1)],
    ids=["power", "exponential", "logarithm"],
)
def test_what_still_falls_is_let_go_on(curve, noise):
    losses = curve + noise * NOISE
    assert improvement_probability(losses[:25], 200) > 0.5


@pytest.mark.parametrize(
    "curve",
    [0.3 + EPOCHS**-0.5 + 0.03 * EPOCHS, 0.5 + np.exp(-0.5 * EPOCHS) + 0.01 * EPOCHS],
    ids=["overfits", "overfits early"],
)
def test_what_rises_is_not(curve):
    assert improvement_probability(curve[:25] + 0.005 * NOISE[:25], 60) < 0.05


def test_what_has_arrived_will_not_improve_by_much():
    losses = 0.3 + np.exp(-EPOCHS[:30]) + 1e-4 * NOISE[:30]
    assert improvement_probability(losses, 100, min_delta=0.05) < 0.05


def test_a_fit_is_that_of_least_squares_if_there_is_enough():
    columns = np.stack([np.ones(200), EPOCHS**-1.0], axis=1)
    values = columns @ [0.5, 2.0] + 0.1 * NOISE
    ahead = np.array([[1.0, 0.001]])
    _, mean, scale, freedom = _fitted(columns, values, ahead)
    best, *_ = np.linalg.lstsq(columns, values, rcond=None)
    np.testing.assert_allclose(mean, ahead @ best, rtol=1e-3)
    np.testing.assert_allclose(scale, 0.1 * NOISE.std(), rtol=0.1)
    assert freedom == 201


@pytest.mark.parametrize("freedom", [7.0, 20.0, 200.0])
def test_the_distribution_is_that_of_student(freedom):
    t = np.linspace(-5, 5, 21)
    expected = scipy.stats.t.cdf(t, freedom)
    np.testing.assert_allclose(_student(t, freedom), expected, atol=2e-3)


def test_ends_and_constants():
    assert improvement_probability([3.0, 2.0, 1.0], 3) == 0.0
    assert improvement_probability([1.0] * 8, 20) == 1.0
    assert improvement_probability([1.0] * 8, 20, min_delta=0.1) == 0.0
