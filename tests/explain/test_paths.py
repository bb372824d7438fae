import numpy as np
import pytest

from keras_ext.explain._paths import Paths, divisor
from tests.explain.models import Formula
from tests.explain.problems import problem_of, rows_of

BACKGROUND = np.array([[0.0, 1.0], [1.0, -1.0]])
X = np.array([[2.0, 3.0], [-1.0, 0.5]])


# All at once, and one point after the other.
@pytest.mark.parametrize("batch_size", [64, 3])
def test_sums_are_of_weight_times_gradient_times_difference(batch_size):
    problem = problem_of(
        Formula(lambda a, b: a * a + a * b), BACKGROUND, batch_size=batch_size
    )
    behind = np.array([[0, 1, 1], [1, 0, 0]], "int32")
    t = np.array([[0.25, 0.5, 1.0], [0.0, 0.75, 0.5]], "float32")
    weights = np.array([[1.0, 2.0, -1.0], [0.5, 1.0, 3.0]], "float32")
    sums, squares, of_sums = Paths(problem).sums(
        rows_of(problem, X), np.array([1, 0]), behind, t, weights
    )
    start = BACKGROUND[behind]
    difference = X[[1, 0]][:, None] - start
    a, b = np.moveaxis(start + t[..., None] * difference, -1, 0)
    found = weights[..., None] * np.stack([2 * a + b, a], axis=-1) * difference
    np.testing.assert_allclose(sums[..., 0], found.sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(squares[..., 0], (found**2).sum(axis=1), rtol=1e-5)
    expected = (found.sum(axis=2) ** 2).sum(axis=1)
    np.testing.assert_allclose(of_sums[:, 0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("outputs", "at_once"), [(1, 1), (10, 10), (17, 1), (34, 2), (1000, 10)]
)
def test_outputs_are_taken_in_equal_parts(outputs, at_once):
    assert divisor(outputs) == at_once
