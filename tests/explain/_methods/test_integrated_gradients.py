import numpy as np
from keras import ops

from keras_ext.explain._methods._integrated_gradients import IntegratedGradients
from tests.explain.models import Formula
from tests.explain.problems import problem_of, rows_of, silent


def explained(formula, background, x):
    problem = problem_of(Formula(formula), background)
    return IntegratedGradients(problem)(rows_of(problem, x), None, None, silent)


def test_polynomials_have_the_values_of_their_integrals():
    # From 0 the integral of 2ab t**2 times a, and of a**2 t**2 times b.
    a, b = 3.0, -2.0
    found = explained(lambda a, b: a * a * b, np.zeros((1, 2)), np.array([[a, b]]))
    expected = np.array([2, 1]) * a * a * b / 3
    np.testing.assert_allclose(found.values[0, :, 0], expected, rtol=1e-5)
    assert found.error_std is None


def test_several_background_rows_give_the_mean():
    x, background = np.array([[2.0, 1.0]]), np.array([[0.0, 0.0], [1.0, -3.0]])
    found = explained(lambda a, b: a * b, background, x)
    # Each factor brings its difference, times the mean of the other on the way.
    expected = ((x - background) * ((x + background) / 2)[:, ::-1]).mean(axis=0)
    np.testing.assert_allclose(found.values[0, :, 0], expected, rtol=1e-5)


def test_a_kink_takes_more_nodes_and_what_is_left_is_divided():
    x = np.array([[1.0, 0.3]])
    problem = problem_of(Formula(lambda a, b: ops.relu(a + b - 0.45)), 0 * x)
    method, rows = IntegratedGradients(problem), rows_of(problem, x)
    found = method(rows, None, 0.015, silent)
    assert 0 < np.abs(found.gap).max() <= 0.015
    # Both go the same way, each by its part of it.
    np.testing.assert_allclose(found.values[0, :, 0], x[0] * 0.85 / 1.3, rtol=1e-5)
    few = method(rows, 2, 0.015, silent)
    assert np.abs(few.gap).max() > 0.1
    assert few.is_left.all()
