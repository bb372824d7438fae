"""Proportional-integral control, also in a closed loop with a simulated model."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_ext.controllers import PI

LOWEST, HIGHEST = 0.01, 0.6


def logit(rate):
    return math.log(rate / (1 - rate))


class Plant:
    """An overfitting gap that follows the dropout rate, and its smoothed measurement.

    At rest the gap is `0.5 - strength * rate`; it gets there by 30 % in every epoch.
    """

    def __init__(self, strength):
        self.strength = strength
        self.gap = self.measured = 0.5
        self.position = logit(0.1)

    @property
    def rate(self):
        return 1 / (1 + math.exp(-self.position))

    def epoch(self, controller):
        self.gap += 0.3 * (0.5 - self.strength * self.rate - self.gap)
        self.measured = 0.7 * self.measured + 0.3 * self.gap
        position = self.position + controller.update(self.measured)
        self.position = min(max(position, logit(LOWEST)), logit(HIGHEST))


@pytest.mark.parametrize("strength", [0.8, 1.0, 2.0, 3.0])
def test_settles_at_the_target_whatever_the_strength_of_the_knob(strength):
    controller, plant = PI(target=0.1), Plant(strength)
    gaps, rates = [], []
    for _ in range(200):
        plant.epoch(controller)
        gaps.append(plant.gap)
        rates.append(plant.rate)
    # Within the dead band after some thirty epochs, and from then on.
    assert np.abs(np.array(gaps[30:]) - 0.1).max() <= 0.02
    assert gaps[0] > 0.4
    # The knob rests, and not at a bound.
    assert np.ptp(rates[-50:]) < 1e-3
    assert LOWEST < rates[-1] < HIGHEST - 0.01


def test_a_knob_that_is_too_weak_stays_at_its_bound():
    controller, plant = PI(target=0.1), Plant(strength=0.3)
    for epoch in range(200):
        plant.epoch(controller)
        if epoch >= 30:
            assert plant.rate == pytest.approx(HIGHEST)
    assert plant.gap == pytest.approx(0.5 - 0.3 * 0.6)


@pytest.mark.parametrize("epochs", [10, 1000])
def test_nothing_winds_up_at_the_bound(epochs):
    controller = PI(target=0.1)
    position = 0.0
    for _ in range(epochs):
        position = min(position + controller.update(0.5), 1.0)
    assert position == 1.0
    # The model suddenly underfits: the knob leaves its bound with the first value.
    position = min(position + controller.update(0.0), 1.0)
    assert position == pytest.approx(0.5)  # the largest step down
    # An integral that was summed up for so long would have kept it there.


def position_form(errors, proportional, integral):
    """The textbook controller, which says where the knob should be, from 0."""
    places = [
        proportional * (errors[t] - errors[0]) + integral * math.fsum(errors[: t + 1])
        for t in range(len(errors))
    ]
    return np.diff([0.0, *places])


def test_moves_as_the_textbook_controller_does():
    measurements = np.random.default_rng(0).normal(0.3, 0.2, 50)
    controller = PI(0.1, proportional=1.7, integral=0.4, dead_band=0, max_step=1e9)
    changes = [controller.update(m) for m in measurements]
    expected = position_form(measurements - 0.1, 1.7, 0.4)
    np.testing.assert_allclose(changes, expected, atol=1e-12)


def test_a_sequence_by_hand():
    controller = PI(
        target=1.0, proportional=2.0, integral=0.5, dead_band=0.125, max_step=1.0
    )
    sequence = [
        (1.4, 0.2),  # error 0.4, no change yet: 0.5 * 0.4
        (1.6, 0.7),  # error 0.6: 2 * 0.2 + 0.5 * 0.6
        (1.0625, -1.0),  # in the dead band: 2 * -0.5375, limited
        (1.0625, 0.0),  # at rest
        (0.875, -0.4375),  # error as large as the dead band: 2 * -0.1875 - 0.0625
        (0.9375, 0.125),  # in the dead band: 2 * 0.0625
        (3.0, 1.0),  # limited
    ]
    for measurement, change in sequence:
        assert controller.update(measurement) == pytest.approx(change, abs=1e-12)


def test_within_the_dead_band_a_steady_error_does_nothing():
    controller = PI(target=0.1, dead_band=0.02)
    assert [controller.update(0.119) for _ in range(5)] == [0.0] * 5
    assert controller.update(0.121) > 0


def test_can_be_pure_integral_or_pure_proportional():
    integral = PI(0.0, proportional=0.0, integral=0.1, max_step=9.0)
    assert [integral.update(m) for m in (1.0, 2.0)] == pytest.approx([0.1, 0.2])
    proportional = PI(0.0, proportional=3.0, integral=0.0, max_step=9.0)
    assert [proportional.update(m) for m in (1.0, 2.0, 2.0)] == [0.0, 3.0, 0.0]


@pytest.mark.parametrize("nothing", [math.nan, math.inf, -math.inf, None])
def test_what_is_no_number_is_forgotten(nothing):
    with_gaps, without = PI(0.1), PI(0.1)
    assert with_gaps.update(nothing) == 0.0
    for measurement in (0.2, 0.25, 0.15):
        assert with_gaps.update(measurement) == without.update(measurement) != 0
        assert with_gaps.update(nothing) == 0.0


@given(
    st.lists(st.floats(-1e6, 1e6), max_size=20),
    st.floats(0, 100),
    st.floats(0, 100),
    st.floats(1e-3, 10),
)
def test_no_step_is_longer_than_the_longest(values, proportional, integral, longest):
    controller = PI(0.1, proportional=proportional, integral=integral, max_step=longest)
    assert all(abs(controller.update(v)) <= longest for v in values)


def test_two_controllers_do_not_share_their_past():
    a, b = PI(0.1), PI(0.1)
    a.update(5.0)
    assert b.update(0.2) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"target": math.nan},
            "`target` must be a number. Received: target=nan.",
        ),
        ({"target": "0.1"}, "`target` must be a number. Received: target='0.1'."),
        (
            {"proportional": -1},
            "`proportional` must be a number >= 0. Received: proportional=-1.",
        ),
        (
            {"integral": None},
            "`integral` must be a number >= 0. Received: integral=None.",
        ),
        (
            {"dead_band": -0.1},
            "`dead_band` must be a number >= 0. Received: dead_band=-0.1.",
        ),
        ({"max_step": 0}, "`max_step` must be a number > 0. Received: max_step=0."),
        (
            {"max_step": math.inf},
            "`max_step` must be a number > 0. Received: max_step=inf.",
        ),
    ],
)
def test_rejects_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        PI(**{"target": 0.1, **kwargs})
