"""Shapes over depth, and the largest of a shape within a budget."""

import itertools

import numpy as np
import pytest

from keras_ext.tuner.spaces._widths import Widths, profile, resolved


def values(shape, **more):
    return {"shape": shape, "ratio": 4.0, "width": 64, **more}


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        # 4 to the powers 1/4, 1/2, 3/4 are 1.414, 2, 2.828.
        ("equal", [64, 64, 64, 64, 64]),
        ("decreasing", [64, 45, 32, 22, 16]),
        ("increasing", [16, 22, 32, 45, 64]),
        ("bottleneck", [64, 32, 16, 32, 64]),
        ("diamond", [16, 32, 64, 32, 16]),
    ],
)
def test_shapes(shape, expected):
    given = values(shape)
    assert resolved(given, profile(given, 5), sum) == expected
    # With an even number there is no layer in the middle: the two there share it.
    ends = {"bottleneck": [64, 16, 16, 64], "diamond": [16, 64, 64, 16]}
    if shape in ends:
        assert resolved(given, profile(given, 4), sum) == ends[shape]
        assert profile(given, 2) == [1.0, 1.0]


def test_free_shares_are_relative_to_the_largest():
    given = values("free", shares=[0.1, 0.2, 0.05, None])
    np.testing.assert_allclose(profile(given, 3), [0.5, 1.0, 0.25])
    assert profile(given, 1) == profile(values(None), 1) == [1.0]


def count(widths):
    """The parameters of a perceptron of 7 inputs and 3 outputs."""
    sizes = [7, *widths, 3]
    return sum((a + 1) * b for a, b in itertools.pairwise(sizes))


@pytest.mark.parametrize("step", [1, 4])
@pytest.mark.parametrize("budget", [150, 4321])
@pytest.mark.parametrize("shape", ["equal", "decreasing", "bottleneck"])
def test_the_largest_of_a_shape_within_a_budget(shape, budget, step):
    """Against all scales of the widest layer in small steps."""
    given = {"shape": shape, "ratio": 3.0, "budget": budget}
    shares = profile(given, 3)
    found = resolved(given, shares, count, step=step, extra=False)
    scales = np.arange(0, 200 / step, 0.004)[:, None]
    all_widths = step * np.maximum(1, np.floor(scales * shares + 1e-9)).astype(int)
    # Sorted, which they are by their scale.
    different = np.unique(all_widths, axis=0).tolist()
    fitting = [widths for widths in different if count(widths) <= budget]
    assert found == fitting[-1]
    # One more here and there, but not where it does not fit.
    more = resolved(given, shares, count, step=step)
    assert count(found) <= count(more) <= budget
    for i, (before, after) in enumerate(zip(found, more, strict=True)):
        assert after in (before, before + step)
        if after == before:
            one_more = [w + step * (j == i) for j, w in enumerate(more)]
            assert count(one_more) > budget


def test_a_budget_that_is_too_small_says_how_much_is_needed():
    given = {"shape": "equal", "ratio": None, "budget": 15}
    with pytest.raises(ValueError, match="narrowest such network has 18 parameters"):
        resolved(given, [1.0, 1.0, 1.0], count)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="`ratio` must be a number > 1"):
        Widths.checked("equal", 8, 1.0, None)
    with pytest.raises(ValueError, match="`parameter_budget` must be an integer >= 1"):
        Widths.checked("equal", 8, 2.0, 0)
    with pytest.raises(ValueError, match='`widths` must be "equal", "decreasing"'):
        Widths.checked("narrow", 8, 2.0, None)
