import itertools

import numpy as np
import pytest

from keras_ext.schedules import OneCycle


def test_goes_through_its_corners_and_stays():
    schedule = OneCycle(
        1.0, 11, pct_start=6 / 11, div_factor=10.0, final_div_factor=100.0
    )
    steps = np.array([0, 5, 10, 11, 1000])
    corners = [0.1, 1.0, 0.001, 0.001, 0.001]
    np.testing.assert_allclose(schedule(steps), corners, rtol=1e-4)


@pytest.mark.parametrize(
    ("pct_start", "three_phase"),
    [*itertools.product([0, 0.05, 0.5], [False, True]), (1, False)],
)
def test_takes_any_share(pct_start, three_phase):
    schedule = OneCycle(1.0, 10, pct_start=pct_start, three_phase=three_phase)
    rates = np.asarray(schedule(np.arange(12)))
    assert np.isfinite(rates).all()
    assert rates.max() <= 1
    assert rates.min() >= 0


def test_three_phases_need_room():
    with pytest.raises(ValueError, match=r"`pct_start` must be at most 0\.5 with"):
        OneCycle(1.0, 10, pct_start=0.6, three_phase=True)


def test_is_as_exact_at_its_end_as_at_its_beginning():
    """The cosine is nearly -1 there, and the rate a millionth of the largest."""
    schedule = OneCycle(1.0, 10_001, pct_start=0)
    left = np.sin(np.pi / 2 * np.array([3.0, 2.0, 1.0]) / 10_001) ** 2
    expected = 4e-6 + (1 - 4e-6) * left
    np.testing.assert_allclose(schedule(np.arange(9997, 10_000)), expected, rtol=1e-5)
