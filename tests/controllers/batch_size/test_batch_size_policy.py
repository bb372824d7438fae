import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_ext.controllers.batch_size import BatchSizePolicy, Measured


class Wants(BatchSizePolicy):
    """Wants what it was told to."""

    def __init__(self, *sizes, shrink=False, doubles_at=1.0):
        super().__init__(shrink)
        self.sizes = iter(sizes)
        self.doubles_at = doubles_at

    def wanted(self, measured):
        return next(self.sizes)


def sizes(policy, start, decisions):
    found = [start]
    for _ in range(decisions):
        found.append(policy.update(Measured(found[-1], start)))
    return found[1:]


def test_doubles_while_more_is_wanted_than_there_is():
    assert sizes(Wants(32, 32.1, 64, 65, 1e9), 32, 5) == [32, 64, 64, 128, 256]


def test_or_doubles_when_twice_is_wanted():
    wants = Wants(63.9, 64, 127, 128, 1e9, doubles_at=2.0)
    assert sizes(wants, 32, 5) == [32, 64, 64, 128, 256]


def test_shrinks_only_if_asked_to():
    assert sizes(Wants(1.0, 1.0), 32, 2) == [32, 32]
    assert sizes(Wants(8.1, 8.0, 8.0, 4.0, shrink=True), 32, 4) == [32, 16, 16, 8]
    wants = Wants(16.1, 16, 16, 8, shrink=True, doubles_at=2.0)
    assert sizes(wants, 32, 4) == [32, 16, 16, 8]


@pytest.mark.parametrize("unknown", [math.nan, -math.inf])
def test_keeps_the_size_while_nothing_is_known(unknown):
    assert sizes(Wants(unknown, unknown), 32, 2) == [32, 32]


def test_endless_want_doubles_too():
    assert sizes(Wants(math.inf, math.inf), 32, 2) == [64, 128]


@given(
    st.lists(st.floats(0.1, 1e9), min_size=1, max_size=30),
    st.booleans(),
    st.sampled_from([1.0, 2.0]),
)
def test_never_moves_by_more_than_two_and_never_to_and_fro(wanted, shrink, doubles_at):
    policy = Wants(*wanted, shrink=shrink, doubles_at=doubles_at)
    found = [64, *sizes(policy, 64, len(wanted))]
    ratios = [b / a for a, b in zip(found, found[1:], strict=False)]
    assert set(ratios) <= ({0.5, 1, 2} if shrink else {1, 2})
    # The same want twice never makes two opposite moves.
    twice = Wants(*[w for w in wanted for _ in "ab"], shrink=shrink)
    found = [64, *sizes(twice, 64, 2 * len(wanted))]
    for first, second, third in zip(found[::2], found[1::2], found[2::2], strict=False):
        assert (second - first) * (third - second) >= 0


def test_wanted_has_to_be_written():
    with pytest.raises(NotImplementedError, match=r"must override wanted\(\)"):
        BatchSizePolicy().update(Measured(1, 1))


def test_without_an_opinion_on_the_learning_rate():
    assert BatchSizePolicy().learning_rate_gain(Measured(1, 1), 2) is None
    assert BatchSizePolicy().largest_factor == math.inf


def test_what_is_not_measured_is_not_known():
    measured = Measured(32, 32)
    for name in ("signal", "noise", "projection", "projection_variance", "gsnr"):
        assert math.isnan(getattr(measured, name))
    assert math.isnan(measured.learning_rate)
    assert math.isnan(measured.noise_scale)
    assert math.isnan(measured.squared_norm)
    assert math.isnan(measured.log("loss"))
    assert measured.max_batch_size == math.inf


def test_knows_what_follows_from_the_measurements():
    measured = Measured(10, 5, signal=2.0, noise=60.0, logs={"loss": 3, "x": math.inf})
    assert measured.noise_scale == 30.0
    assert measured.squared_norm == 8.0
    assert measured.log("loss") == 3.0
    assert math.isnan(measured.log("x"))
    # Noise that hides the gradient.
    assert math.isnan(Measured(10, 5, signal=-1.0, noise=60.0).noise_scale)


def test_rejects_bad_arguments():
    message = "`shrink` must be True or False. Received: shrink=1."
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        BatchSizePolicy(shrink=1)
