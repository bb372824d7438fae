"""Fronts, against their definition point by point."""

import numpy as np

from keras_ext.tuner._pareto import front_numbers, rank_sums


def test_fronts_by_definition():
    costs = np.random.default_rng(0).integers(0, 6, size=(40, 2)).tolist()

    def beaten(point, others):
        return any(
            a <= point[0] and b <= point[1] and [a, b] != point for a, b in others
        )

    left, number, expected = list(range(40)), 0, {}
    while left:
        front = [i for i in left if not beaten(costs[i], [costs[j] for j in left])]
        expected |= dict.fromkeys(front, number)
        left, number = [i for i in left if i not in front], number + 1
    assert front_numbers(costs) == [expected[i] for i in range(40)]
    assert number > 3


def test_units_do_not_count_for_the_sum_of_ranks():
    costs = np.random.default_rng(1).normal(size=(10, 3))
    assert rank_sums(costs) == rank_sums(np.exp(costs) * [1, 1e6, 1e-6])
    assert front_numbers([]) == []
