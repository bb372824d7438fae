from itertools import permutations

import numpy as np
import pytest

from keras_ext.explain._methods._owen import Owen
from tests.explain.models import Formula
from tests.explain.problems import game, problem_of, rows_of, shapley_values, silent

GROUP = np.array([0, 1, 0])
BACKGROUND = np.array([[0.0, 1.0, -1.0], [2.0, 0.0, 1.0]])
X = np.array([[3.0, 2.0, -2.0]])
# The player in between would part the others.
TOGETHER = [order for order in permutations(range(3)) if order[1] != 1]


def formula(a, b, c):
    return a * b * c + a * c + b


@pytest.fixture(scope="module")
def problem():
    """Three players, the first and the last of which belong together."""
    return problem_of(Formula(formula), BACKGROUND, group=GROUP)


def test_members_of_a_group_stay_together_and_nothing_else_is_ruled_out(problem):
    drawn = Owen(problem).orders(np.random.default_rng(0), 400)
    orders, counts = np.unique(drawn, axis=0, return_counts=True)
    assert sorted(map(tuple, orders)) == sorted(TOGETHER)
    # Each in about every fourth case: 100, with a standard deviation below 9.
    assert counts.min() > 60


def test_values_are_means_over_these_orders(problem):
    found = Owen(problem)(rows_of(problem, X), 8000, None, silent)
    value = game(formula, X[0], BACKGROUND)
    expected = shapley_values(value, 3, TOGETHER)
    error = np.maximum(found.error_std[0, :, 0], 1e-5)
    assert (np.abs(found.values[0, :, 0] - expected) < 5 * error).all()
    # Without groups other values come out, by far more than chance.
    alone = shapley_values(value, 3)
    assert (np.abs(found.values[0, :, 0] - alone) > 5 * error).any()


def test_without_groups_it_is_refused():
    with pytest.raises(ValueError, match='`groups` must be given for method="owen"'):
        Owen(problem_of(Formula(formula), BACKGROUND))
