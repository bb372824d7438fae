import numpy as np
import pytest

from keras_ext.explain._perturbations import perturbed, shaped_perturbations
from tests.explain.models import linear, two_inputs
from tests.explain.problems import problem_of


@pytest.fixture(scope="module")
def problem():
    """Three elements play."""
    return problem_of(linear([1.0, 2.0, 3.0]), np.zeros((1, 3)))


def test_changes_are_added_to_each_row(problem):
    given = shaped_perturbations(np.array([[1.0, 0.0, -1.0], [0.0, 2.0, 0.0]]), problem)
    parts = [np.ones((2, 3), "float32")]
    (found,) = perturbed(parts, given[:1], problem)
    np.testing.assert_array_equal(found, [[2, 1, 0], [2, 1, 0]])
    assert found.dtype == "float32"
    np.testing.assert_array_equal(parts[0], 1.0)


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 4)])
def test_changes_of_another_shape_are_refused(shape, problem):
    with pytest.raises(ValueError, match=r"`perturbations` must be.*\(samples, 3\)"):
        shaped_perturbations(np.zeros(shape), problem)


def test_groups_and_tokens_cannot_change_a_little():
    grouped = problem_of(linear([1.0, 2.0]), np.zeros((1, 2)), groups=np.zeros(2, int))
    with pytest.raises(ValueError, match="`players` must be single elements"):
        shaped_perturbations(np.zeros((1, 2)), grouped)
    rows = {"number": np.zeros((1, 2)), "tokens": np.zeros((1, 3), int)}
    with pytest.raises(ValueError, match="of real inputs"):
        shaped_perturbations(np.zeros((1, 5)), problem_of(two_inputs(), rows))
