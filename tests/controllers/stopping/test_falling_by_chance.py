import itertools

import numpy as np
import pytest
import scipy.stats

from keras_ext.controllers.stopping._falling_by_chance import falling_by_chance


@pytest.mark.parametrize("size", [4, 5, 8, 20])
def test_is_the_exact_p_value_of_scipy(size):
    rng = np.random.default_rng(size)
    for slope in (-1.0, 0.0, 1.0):
        values = slope * np.arange(size) + size / 3 * rng.normal(size=size)
        expected = scipy.stats.kendalltau(
            np.arange(size), values, alternative="less", method="exact"
        )
        assert falling_by_chance(values) == pytest.approx(expected.pvalue, abs=1e-12)


def test_is_the_share_of_all_orders_that_fall_as_much():
    def rises(order):
        return sum(a < b for a, b in itertools.combinations(order, 2))

    orders = list(itertools.permutations(range(5)))
    for order in orders[::17]:
        share = np.mean([rises(other) <= rises(order) for other in orders])
        assert falling_by_chance(order) == pytest.approx(share, abs=1e-12)


def test_a_value_is_no_less_likely_than_itself():
    assert falling_by_chance([1.0]) == 1.0
    assert falling_by_chance([1.0, 2.0]) == 1.0
    assert falling_by_chance([2.0, 1.0]) == 0.5


def test_equal_values_have_no_trend():
    # Half of the pairs count as rises: by symmetry the chance is about one half.
    assert falling_by_chance(np.zeros(10)) == pytest.approx(0.5, abs=0.1)
    assert falling_by_chance([3.0, 2.0, 1.0, 1.0, 1.0, 1.0]) < 0.2
