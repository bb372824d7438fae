import itertools

import numpy as np
import pytest

from keras_ext.diagnostics._learning_rate_rules import (
    has_diverged,
    minimum,
    slide,
    smoothed,
    steepest,
    valley,
)

RATES = np.geomspace(1e-4, 1.0, 41)  # ten per decade
PLACE = np.log10(RATES)


def test_steepest_is_where_the_slope_is():
    falls_at = -2.0
    losses = 1 / (1 + np.exp(8 * (PLACE - falls_at)))
    assert steepest(RATES, losses) == pytest.approx(1e-2, rel=0.3)


def test_minimum_is_a_tenth():
    losses = (PLACE + 1) ** 2
    assert minimum(RATES, losses) == pytest.approx(0.01)


def test_the_valley_is_the_longest_fall():
    """Against all subsequences of a short one; the point as in the published code."""
    losses = np.random.default_rng(0).normal(size=12)
    falling = [
        chosen
        for size in range(1, 13)
        for chosen in itertools.combinations(range(12), size)
        if all(losses[a] > losses[b] for a, b in itertools.pairwise(chosen))
    ]
    length = max(map(len, falling))
    end = min(chosen[-1] for chosen in falling if len(chosen) == length)
    expected = end - length + int(length / 3) + int(length / 6)
    assert valley(RATES[:12], losses) == RATES[expected]


def test_half_way_down_a_straight_fall():
    losses = np.concatenate([np.ones(10), np.linspace(1, 0, 21), np.linspace(1, 9, 10)])
    assert valley(RATES, losses) == pytest.approx(RATES[19], rel=0.3)


@pytest.mark.parametrize("unit", [1.0, 1e6, 1e-6])
def test_slide_stops_before_the_burst_whatever_the_unit(unit):
    """Flat, then a burst in the last five: the window comes to flat ground."""
    losses = unit * np.concatenate([np.ones(36), [1.1, 1.5, 2.5, 4.5, 8.5]])
    # While its right end is in the burst, the left end is found 15 further left.
    assert slide(RATES, losses) == RATES[35 - 15]


def test_averages_are_corrected_for_their_beginning():
    losses = np.array([4.0, 2.0, 1.0])
    weights = 0.9 ** np.arange(3)[::-1]
    expected = (weights * losses).sum() / weights.sum()
    assert smoothed(losses, 0.9)[-1] == pytest.approx(expected)
    np.testing.assert_allclose(smoothed(np.full(5, 3.0), 0.98), 3.0)
    np.testing.assert_array_equal(smoothed(losses, 0.0), losses)


@pytest.mark.parametrize(
    ("last", "best", "diverged"),
    [
        (3.9, 1.0, False),
        (4.1, 1.0, True),
        (-1.0, -2.0, False),
        (4.5, -1.0, True),
        (np.nan, 1.0, True),
    ],
)
def test_four_times_the_best_is_too_much(last, best, diverged):
    assert has_diverged(last, best) is diverged
