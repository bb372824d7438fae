import itertools

import numpy as np
import pytest

from keras_ext.explain._coalitions import Coalitions
from tests.explain.models import Formula
from tests.explain.problems import game, problem_of, rows_of

BACKGROUND = np.array([[0.0, 1.0, -1.0], [2.0, 3.0, 1.0], [1.0, 0.5, 2.0]])
X = np.array([[3.0, 2.0, -2.0], [2.0, 5.0, 4.0]])
EVERY = np.array(list(itertools.product([False, True], repeat=3)))


def formula(a, b, c):
    return a * b + b * c * c


# All at once, and with the rows, the coalitions and the background cut.
@pytest.mark.parametrize("batch_size", [64, 7, 2])
def test_values_are_means_over_the_background(batch_size):
    problem = problem_of(Formula(formula), BACKGROUND, batch_size=batch_size)
    rows = rows_of(problem, X)
    done = []
    found = Coalitions(problem).values(
        rows.parts, rows.which, EVERY, lambda *of: done.append(of)
    )
    expected = [[game(formula, x, BACKGROUND)(come) for come in EVERY] for x in X]
    np.testing.assert_allclose(found[..., 0], expected, rtol=1e-5)
    assert done[-1][0] == done[-1][1] == len(done)


def test_groups_come_as_one():
    problem = problem_of(Formula(formula), BACKGROUND, groups=np.array([0, 1, 0]))
    rows = rows_of(problem, X)
    found = Coalitions(problem).values(rows.parts, rows.which, ~np.eye(2, dtype=bool))
    for come, values in zip(([0, 1, 0], [1, 0, 1]), found[0], strict=True):
        expected = game(formula, X[0], BACKGROUND)(np.array(come, bool))
        np.testing.assert_allclose(values, expected, rtol=1e-5)
