import numpy as np
import pytest

from keras_ext.explain._methods._exact import Exact, active_players, shapley_operator
from tests.explain.models import Formula, linear
from tests.explain.problems import game, problem_of, rows_of, shapley_values, silent

BACKGROUND = np.array([[0.0, 1.0, -1.0, 2.0], [2.0, 3.0, 1.0, 2.0]])
X = np.array([[3.0, 2.0, -2.0, 2.0], [2.0, 5.0, 4.0, 2.0]])


def formula(a, b, c, d):
    return a * b + b * c * c - d * a


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_operator_is_the_mean_over_all_orders(count):
    subsets, operator = shapley_operator(count)
    values = np.random.default_rng(0).normal(size=len(subsets))
    known = {tuple(s): v for s, v in zip(subsets, values, strict=True)}
    assert len(known) == 2**count
    expected = shapley_values(lambda come: known[tuple(come)], count)
    np.testing.assert_allclose(operator @ values, expected)


def test_values_are_those_of_the_definition():
    problem = problem_of(Formula(formula), BACKGROUND)
    rows = rows_of(problem, X)
    # The last player is the same everywhere.
    np.testing.assert_array_equal(active_players(problem, rows), [0, 1, 2])
    found = Exact(problem)(rows, None, None, silent)
    expected = [shapley_values(game(formula, x, BACKGROUND), 4) for x in X]
    np.testing.assert_allclose(found.values[..., 0], expected, rtol=1e-5, atol=1e-5)
    assert found.error_std is None


def test_too_many_players_are_refused():
    problem = problem_of(linear(np.ones(17)), np.zeros((1, 17)))
    with pytest.raises(ValueError, match="`players` must be <= 16.*17.*groups"):
        Exact(problem)
