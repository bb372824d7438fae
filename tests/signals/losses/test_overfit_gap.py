import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_ext.signals import OverfitGap


@pytest.mark.parametrize(
    ("training", "validation", "gap"),
    [
        (0.5, 0.5, 0.0),
        (0.0, 0.5, 1.0),
        (0.25, 0.5, 0.5),
        (0.75, 0.5, -0.5),  # underfitting, or an easy validation set
        (2.5, 10.0, 0.75),
        (0.0, 0.0, 0.0),
    ],
)
def test_the_gap_is_relative_to_the_validation_loss(training, validation, gap):
    assert OverfitGap().update(training, validation) == pytest.approx(gap)


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_the_unit_of_the_loss_does_not_matter(training, validation, unit):
    gap = OverfitGap().update(training, validation)
    assert OverfitGap().update(unit * training, unit * validation) == pytest.approx(
        gap, rel=1e-9, abs=1e-9
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.5, 0.7, 0.99])
def test_is_the_mean_with_weights_that_fall_into_the_past(smoothing):
    losses = np.random.default_rng(0).uniform(0.5, 1.5, (20, 2))
    gap = OverfitGap(smoothing=smoothing)
    smoothed = [gap.update(training, validation) for training, validation in losses]
    gaps = 1 - losses[:, 0] / losses[:, 1]
    expected = [
        np.average(gaps[: n + 1], weights=smoothing ** np.arange(n, -1.0, -1.0))
        for n in range(20)
    ]
    np.testing.assert_allclose(smoothed, expected, rtol=1e-9)


def test_a_steady_gap_is_shown_at_once():
    gap = OverfitGap(smoothing=0.95)
    assert [gap.update(0.3, 0.4) for _ in range(5)] == pytest.approx([0.25] * 5)


def test_losses_below_epsilon_do_not_blow_the_gap_up():
    assert OverfitGap(epsilon=0.1).update(0.01, 0.02) == pytest.approx(0.1)
    assert abs(OverfitGap().update(0.0, 1e-12)) < 1e-4


def test_two_gaps_do_not_share_their_past():
    a, b = OverfitGap(), OverfitGap()
    a.update(0.0, 1.0)
    assert b.update(1.0, 1.0) == 0.0


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"smoothing": 1.0},
            "`smoothing` must be a number in [0, 1). Received: smoothing=1.0.",
        ),
        (
            {"smoothing": -0.5},
            "`smoothing` must be a number in [0, 1). Received: smoothing=-0.5.",
        ),
        (
            {"smoothing": math.nan},
            "`smoothing` must be a number in [0, 1). Received: smoothing=nan.",
        ),
        ({"epsilon": 0}, "`epsilon` must be a number > 0. Received: epsilon=0."),
        ({"epsilon": None}, "`epsilon` must be a number > 0. Received: epsilon=None."),
    ],
)
def test_rejects_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        OverfitGap(**kwargs)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_forgets_a_loss_that_is_not_finite(bad):
    gap = OverfitGap(smoothing=0.5)
    gap.update(training_loss=1.0, validation_loss=2.0)
    assert math.isnan(gap.update(training_loss=bad, validation_loss=bad))
    assert gap.update(training_loss=1.0, validation_loss=2.0) == pytest.approx(0.5)
