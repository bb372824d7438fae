import numpy as np
import pytest
from scipy.special import roots_sh_legendre

from keras_ext.explain._problem import Rows
from keras_ext.explain._quadrature import (
    completed,
    gauss_nodes,
    output_scale,
    until_complete,
)
from tests.explain.problems import silent


def rows(outputs, background=0.0):
    """Rows with these outputs."""
    count = len(outputs)
    return Rows(
        [],
        np.reshape(outputs, (-1, 1)),
        np.zeros((count, 1), int),
        np.full((2, 1), background),
    )


def test_nodes_are_those_of_gauss():
    t, weights = gauss_nodes(5)
    expected, of_them = roots_sh_legendre(5)
    np.testing.assert_allclose(t, expected, rtol=1e-6)
    np.testing.assert_allclose(weights, of_them, rtol=1e-6)
    # Five nodes are exact up to the ninth power.
    np.testing.assert_allclose(weights @ t**9, 1 / 10, rtol=1e-5)


def test_only_rows_that_do_not_add_up_get_more_nodes():
    asked = []

    def explain(chosen, nodes):
        asked.append((chosen.tolist(), nodes))
        enough = nodes >= np.array([1, 32, 1000])[chosen]
        return np.where(enough, 3.05, 0.0)[:, None, None]

    found = until_complete(explain, rows([5.0, 5.0, 5.0], 2.0), 50, 0.1, silent)
    assert asked == [([0, 1, 2], 16), ([1, 2], 32), ([2], 50)]
    np.testing.assert_allclose(found.values.ravel(), [3.0, 3.0, 0.0])
    np.testing.assert_array_equal(found.is_left.ravel(), [False, False, True])


@pytest.mark.parametrize(("total", "expected"), [(4.04, [1.01, 3.03]), (6, [1, 3])])
def test_a_little_is_divided_by_shares_and_much_is_left_out(total, expected):
    values = np.array([[[1.0], [3.0]]])
    found = completed(values, values, np.array([[total]]), np.ones((1, 1)))
    np.testing.assert_allclose(found.values[0, :, 0], expected)
    np.testing.assert_allclose(found.gap, [[total - 4]])
    assert found.is_left.item() == (total == 6)


def test_what_is_missing_by_chance_is_divided():
    values = np.array([[[1.0], [3.0]]])
    found = completed(values, values, np.array([[6.0]]), np.ones((1, 1)), chance=2.5)
    np.testing.assert_allclose(found.values.sum(), 6.0)


def test_the_scale_is_that_of_rows_and_background():
    np.testing.assert_array_equal(output_scale(rows([-3.0, 1.0], -2.0)), [[5], [3]])
