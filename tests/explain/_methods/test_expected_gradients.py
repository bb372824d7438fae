import numpy as np
import pytest

from keras_ext.explain._methods._expected_gradients import ExpectedGradients, _points
from tests.explain.models import Formula, linear
from tests.explain.problems import problem_of, rows_of, silent

BACKGROUND = np.array([[0.0, 0.0], [1.0, -3.0], [0.5, 1.0]])
X = np.array([[2.0, 1.0], [-1.0, 2.0]])


@pytest.fixture(scope="module")
def method():
    """A product, of which each factor brings its difference times the mean other."""
    return ExpectedGradients(problem_of(Formula(lambda a, b: a * b), BACKGROUND))


def expected():
    means = (X[:, None] + BACKGROUND) / 2
    differences = X[:, None] - BACKGROUND
    return (differences * means[..., ::-1]).mean(axis=1)


def test_weighted_sums_leave_nothing_to_chance():
    problem = problem_of(linear([2.0, -3.0]), BACKGROUND)
    found = ExpectedGradients(problem)(rows_of(problem, X), 3, None, silent)
    differences = X - BACKGROUND.mean(axis=0)
    np.testing.assert_allclose(found.values[..., 0], differences * [2, -3], rtol=1e-5)


def test_values_are_as_near_as_the_error_says(method):
    rows = rows_of(method.problem, X)
    found = method(rows, None, None, silent)
    off = np.abs(found.values[..., 0] - expected())
    assert (off < 3 * found.error_std[..., 0]).all()
    wanted = rows.explained - rows.explained_background.mean(axis=1)
    np.testing.assert_allclose(found.values.sum(axis=1), wanted, rtol=1e-5)


def test_it_goes_on_until_the_tolerance_is_met(method):
    rows = rows_of(method.problem, X)
    assert method(rows, 12, None, silent).error_std.max() > 0.2
    assert method(rows, 12, 0.2, silent).error_std.max() <= 0.2


def test_points_are_spread_evenly_over_rows_and_the_way():
    behind, t = _points(np.random.default_rng(0), 3, 5)
    np.testing.assert_array_equal(np.bincount(behind), [5, 5, 5])
    # One in each of fifteen stretches; and of each row one in each of five.
    np.testing.assert_array_equal(np.sort(np.floor(t * 15)), np.arange(15))
    for row in range(3):
        own = np.sort(np.floor(t[behind == row] * 5))
        np.testing.assert_array_equal(own, np.arange(5))
