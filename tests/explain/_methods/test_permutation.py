import numpy as np
import pytest

from keras_ext.explain._methods._permutation import Permutation
from tests.explain.models import Formula
from tests.explain.problems import game, problem_of, rows_of, shapley_values, silent

BACKGROUND = np.array([[0.0, 1.0, -1.0], [2.0, 0.0, 1.0]])
X = np.array([[3.0, 2.0, -2.0], [-1.0, 1.5, 2.0]])


def formula(a, b, c):
    return a * b * c + a * c + b


@pytest.fixture(scope="module")
def method():
    """Random orders of three players, evaluated 64 places at a time."""
    return Permutation(problem_of(Formula(formula), BACKGROUND))


def expected():
    return np.array([shapley_values(game(formula, x, BACKGROUND), 3) for x in X])


def test_values_are_as_near_as_the_error_says(method):
    found = method(rows_of(method.problem, X), 1000, None, silent)
    off = np.abs(found.values[..., 0] - expected())
    error = found.error_std[..., 0]
    assert (off < 4 * np.maximum(error, 1e-5)).all()
    assert error.max() < 0.2


def test_sums_are_exact_for_the_fewest_orders(method):
    rows = rows_of(method.problem, X)
    found = method(rows, 1, None, silent)
    wanted = rows.explained - rows.explained_background.mean(axis=1)
    np.testing.assert_allclose(found.values.sum(axis=1), wanted, rtol=1e-5)


def test_one_order_for_each_background_row_but_two_for_an_error(method):
    assert method._replicates(1) == 1
    alone = Permutation(problem_of(Formula(formula), BACKGROUND[:1]))
    assert alone._replicates(1) == 2
    assert np.isfinite(
        alone(rows_of(alone.problem, X), 1, None, silent).error_std
    ).all()


def test_elements_of_a_group_come_together():
    problem = problem_of(Formula(formula), BACKGROUND, groups={"ac": [0, 2], "b": [1]})
    method = Permutation(problem)

    def value_of(x):
        alone = game(formula, x, BACKGROUND)
        return lambda come: alone(np.array([come[0], come[1], come[0]]))

    found = method(rows_of(problem, X), 2000, None, silent)
    expected = np.array([shapley_values(value_of(x), 2) for x in X])
    np.testing.assert_allclose(found.values[..., 0], expected, rtol=1e-5)


def test_it_goes_on_until_the_tolerance_is_met(method):
    rows = rows_of(method.problem, X)
    assert method(rows, 8, None, silent).error_std.max() > 0.1
    found = method(rows, 8, 0.1, silent)
    assert found.error_std.max() <= 0.1
    assert np.abs(found.values[..., 0] - expected()).max() < 0.5


def test_rows_are_explained_alike_alone_and_among_others(method):
    both = method(rows_of(method.problem, X), 40, None, silent)
    alone = method(rows_of(method.problem, X[1:]), 40, None, silent)
    np.testing.assert_allclose(alone.values[0], both.values[1], rtol=1e-5)
