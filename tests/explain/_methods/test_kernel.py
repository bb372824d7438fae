from math import comb

import numpy as np
import pytest

from keras_ext.explain._methods._kernel import Kernel, draw, regression
from tests.explain.models import Formula
from tests.explain.problems import game, problem_of, rows_of, shapley_values, silent

BACKGROUND = np.array([[0.0, 1.0, -1.0, 0.5, 0.0], [2.0, 0.0, 1.0, 0.0, 1.0]])
X = np.array([[3.0, 2.0, -2.0, 1.0, -1.0]])


def formula(a, b, c, d, e):
    return a * b * c + a * d + e * e


def test_the_regression_solves_weighted_least_squares_under_a_constraint():
    rng = np.random.default_rng(0)
    members, weights = rng.random((20, 4)) < 0.5, rng.random(20)
    values, total = rng.normal(size=20), 1.7
    operator, share = regression(members, weights)
    found = operator @ values + share * total
    # Lagrange's conditions, solved as they stand.
    z = members.astype("float64")
    lagrange = np.zeros((5, 5))
    lagrange[:4, :4] = 2 * z.T @ (weights[:, None] * z)
    lagrange[:4, 4] = lagrange[4, :4] = 1
    right = np.r_[2 * z.T @ (weights * values), total]
    np.testing.assert_allclose(found, np.linalg.solve(lagrange, right)[:4])


def test_all_coalitions_give_the_shapley_values():
    problem = problem_of(Formula(formula), BACKGROUND)
    found = Kernel(problem)(rows_of(problem, X), None, None, silent)
    expected = shapley_values(game(formula, X[0], BACKGROUND), 5)
    np.testing.assert_allclose(found.values[0, :, 0], expected, rtol=1e-4)
    np.testing.assert_array_equal(found.error_std, 0.0)


def test_a_single_player_has_the_whole_difference():
    problem = problem_of(Formula(lambda a: a * a), BACKGROUND[:, :1])
    found = Kernel(problem)(rows_of(problem, X[:, :1]), None, None, silent)
    np.testing.assert_allclose(found.values, [[[9.0 - 2.0]]], rtol=1e-6)
    np.testing.assert_array_equal(found.error_std, [[[0.0]]])


def test_few_coalitions_come_as_near_as_the_error_says():
    problem = problem_of(Formula(formula), BACKGROUND)
    found = Kernel(problem)(rows_of(problem, X), 2 * 20, None, silent)
    expected = shapley_values(game(formula, X[0], BACKGROUND), 5)
    assert found.error_std.max() > 0
    off = np.abs(found.values[0, :, 0] - expected)
    assert (off < 5 * found.error_std[0, :, 0] + 1e-5).all()
    rows = rows_of(problem, X)
    np.testing.assert_allclose(
        found.values.sum(), rows.explained[0, 0] - rows.background.mean(), rtol=1e-4
    )
    with pytest.raises(ValueError, match="`budget` must be >= 20, twice"):
        Kernel(problem)(rows, 19, None, silent)


@pytest.mark.parametrize("players", [6, 7])
def test_every_size_gets_its_weight_and_no_pair_comes_twice(players):
    sample = draw(players, 44, np.random.default_rng(0))
    assert sample.complete == {1: True, 2: False, 3: False}
    both = np.concatenate([sample.members, ~sample.members])
    assert len(np.unique(both, axis=0)) == len(both)
    # The weights of Kernel SHAP, summed over the coalitions of each size.
    for size in (1, 2, 3):
        own = sample.weights[sample.stratum == size].sum()
        sizes = {size, players - size}
        assert (sample.members.sum(axis=1)[sample.stratum == size] == size).all()
        kernel = (players - 1) / (comb(players, size) * size * (players - size))
        np.testing.assert_allclose(own, kernel * comb(players, size) * len(sizes))
