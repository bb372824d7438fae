import numpy as np
import pytest

from keras_ext.explain._chains import Chains, Tally
from tests.explain.models import Formula
from tests.explain.problems import brought, game, problem_of, rows_of

BACKGROUND = np.array([[0.0, 1.0, -1.0], [2.0, 3.0, 1.0]])
X = np.array([[3.0, 2.0, -2.0], [2.0, 5.0, 4.0]])
# Nothing in common with the background: lists and sums are then made in another way.
ALL_ELSE = np.array([[3.0, 2.0, -2.0], [2.5, 5.0, 4.0]])
ORDERS = np.array([[[0, 1, 2]], [[2, 0, 1]]])


def formula(a, b, c):
    return a * b + b * c * c


def chains(x=X):
    problem = problem_of(Formula(formula), BACKGROUND)
    return Chains(problem, rows_of(problem, x), np.array([1, 0]), ORDERS)


@pytest.mark.parametrize("x", [X, ALL_ELSE], ids=["some change", "all change"])
def test_players_bring_what_walking_along_each_order_shows(x):
    found = chains(x)
    outputs = []
    for row, behind, order, place in zip(
        found.row, found.behind, found.order, found.place, strict=True
    ):
        come = found.ranks[order] <= place
        outputs.append([formula(*np.where(come, x[::-1][row], BACKGROUND[behind]))])
    gains = found.contributions(np.array(outputs))
    assert gains.shape == (2, 2, 1, 3, 1)
    for i, explained in enumerate(x[::-1]):
        for j, (order,) in enumerate(ORDERS):
            value = game(formula, explained, BACKGROUND[j : j + 1])
            both = brought(value, order), brought(value, order[::-1])
            np.testing.assert_allclose(gains[i, j, 0, :, 0], np.mean(both, axis=0))


def test_places_where_nothing_changes_are_not_evaluated():
    # The last row and the last background row have the first player in common.
    counts = np.zeros((2, 2), int)
    found = chains()
    np.add.at(counts, (found.row, found.behind), 1)
    # Two directions, and one place less than players that change.
    np.testing.assert_array_equal(counts, [[4, 2], [4, 4]])


def test_rounds_add_up_to_the_mean_and_its_standard_error():
    found = np.random.default_rng(0).normal(size=(2, 3, 8, 4, 1))
    tally = Tally((2, 3, 4, 1))
    tally.add(np.arange(2), found[:, :, :5])
    tally.add(np.array([1]), found[1:, :, 5:])
    for row, upto in ((0, 5), (1, 8)):
        own = found[row, :, :upto]
        np.testing.assert_allclose(tally.mean()[row], own.mean(axis=(0, 1)))
        # The background rows are all there are: only orders are a sample.
        variance = own.var(axis=1, ddof=1) / upto
        expected = np.sqrt(variance.sum(axis=0)) / 3
        np.testing.assert_allclose(tally.error()[row], expected)


def test_one_order_of_one_background_row_has_no_known_error():
    tally = Tally((1, 1, 2, 1))
    tally.add(np.arange(1), np.ones((1, 1, 1, 2, 1)))
    assert np.isnan(tally.error()).all()
