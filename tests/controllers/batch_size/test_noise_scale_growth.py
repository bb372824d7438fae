import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_ext.controllers.batch_size import NoiseScaleGrowth


def factors(policy, noise_scales):
    return [policy.update(epoch=0, noise_scale=s) for s in noise_scales]


def test_doubles_while_the_noise_scale_is_twice_the_batch():
    policy = NoiseScaleGrowth(largest=8)
    noise_scales = [0.6, 1.99, 2.0, 3.9, 4.0, 100.0, 100.0]
    assert factors(policy, noise_scales) == [1, 1, 2, 2, 4, 8, 8]


def test_grows_one_doubling_at_a_time():
    assert factors(NoiseScaleGrowth(largest=64), [1e9] * 7) == [2, 4, 8, 16, 32, 64, 64]


def test_never_shrinks():
    assert factors(NoiseScaleGrowth(), [4.0, 4.0, 0.1, 1e-9]) == [2, 4, 4, 4]


@pytest.mark.parametrize("unknown", [math.nan, math.inf, -math.inf, -5.0, 0.0])
def test_keeps_its_factor_while_the_noise_scale_is_unknown(unknown):
    policy = NoiseScaleGrowth()
    assert policy.update(epoch=0, noise_scale=unknown) == 1
    assert policy.update(epoch=1) == 1
    assert factors(policy, [8.0, unknown, unknown, 8.0]) == [2, 2, 2, 4]


def test_the_epoch_does_not_matter():
    policy = NoiseScaleGrowth()
    assert [policy.update(epoch=e, noise_scale=3.0) for e in (9, 0, 4)] == [2, 2, 2]


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [(0.25, [1, 1, 2]), (0.5, [1, 2, 4]), (1.0, [2, 4, 8]), (4.0, [2, 4, 8])],
)
def test_aims_at_a_fraction_of_the_noise_scale(fraction, expected):
    policy = NoiseScaleGrowth(fraction=fraction)
    assert factors(policy, [3.0, 7.0, 8.0]) == expected


@given(
    st.integers(1, 5000),
    st.floats(0.1, 1e4),
    st.floats(0.1, 10),
)
def test_ends_at_the_largest_power_of_two_that_is_not_too_large(most, scale, fraction):
    policy = NoiseScaleGrowth(largest=most, fraction=fraction)
    (*_, last) = factors(policy, [scale] * 20)
    powers = [2**k for k in range(20)]
    allowed = [p for p in powers if p <= most and p <= max(1, fraction * scale)]
    assert last == max(allowed)


@pytest.mark.parametrize(
    ("largest", "rounded"), [(1, 1), (2, 2), (3, 2), (63, 32), (64, 64), (1000, 512)]
)
def test_the_largest_factor_is_a_power_of_two(largest, rounded):
    policy = NoiseScaleGrowth(largest=largest)
    assert policy.largest == rounded
    assert isinstance(policy.largest, int)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"largest": 0}, "`largest` must be an integer >= 1. Received: largest=0."),
        ({"largest": 2.0}, "`largest` must be an integer >= 1. Received: largest=2.0."),
        (
            {"largest": True},
            "`largest` must be an integer >= 1. Received: largest=True.",
        ),
        ({"fraction": 0}, "`fraction` must be a number > 0. Received: fraction=0."),
        (
            {"fraction": math.inf},
            "`fraction` must be a number > 0. Received: fraction=inf.",
        ),
    ],
)
def test_rejects_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        NoiseScaleGrowth(**kwargs)
