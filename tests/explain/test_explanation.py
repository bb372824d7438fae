from functools import cache

import numpy as np
import pytest

from keras_ext.explain._explanation import (
    pairs_explanation,
    player_data,
    spread_explanation,
    to_explanation,
)
from keras_ext.explain._problem import Attribution
from tests.explain.models import normal, perceptron, two_inputs
from tests.explain.problems import problem_of, rows_of

X = normal(3, 4)


@cache
def model(outputs):
    return perceptron(4, outputs)


def explanation(problem, x, values, **kept):
    rows, players = rows_of(problem, x), problem.players
    attribution = Attribution(values, **kept)
    return to_explanation(attribution, rows, players, problem.function, x, 0.5)


def test_several_outputs_have_an_axis_and_one_has_none():
    values = normal(3, 4, 2).astype("float64")
    found = explanation(problem_of(model(2), X[:2]), X, values, error_std=values**2)
    np.testing.assert_array_equal(found.values, values)
    np.testing.assert_array_equal(found.error_std, values**2)
    np.testing.assert_allclose(found.data, X)
    expected = np.asarray(model(2)(X[:2])).mean(axis=0)
    np.testing.assert_allclose(
        found.base_values, np.tile(expected, (3, 1)), rtol=1e-4, atol=1e-6
    )
    one = explanation(
        problem_of(model(2), X[:2], outputs=1), X, values[..., 1:], gap=np.ones((3, 1))
    )
    np.testing.assert_array_equal(one.values, values[..., 1])
    np.testing.assert_allclose(
        one.base_values, found.base_values[:, 1], rtol=1e-6, atol=1e-6
    )
    assert one.gap.shape == (3,)
    assert one.output_names is None


def test_the_highest_output_has_the_name_of_its_row():
    problem = problem_of(model(3), X, outputs="top")
    found = explanation(problem, X, np.zeros((3, 4, 1)))
    names = np.array(problem.function.names)
    highest = np.asarray(model(3)(X)).argmax(axis=1)
    assert list(found.output_names) == list(names[highest])


@pytest.mark.parametrize("groups", [None, np.array([0, 1, 1, 1])])
def test_spread_values_add_up_as_before(groups):
    problem = problem_of(model(1), X, groups=groups)
    count = problem.players.count
    found = explanation(problem, X, normal(3, count, 1).astype("float64"))
    assert found.values.shape == (3, count)
    spread = spread_explanation(found, problem, X)
    np.testing.assert_allclose(spread.values.sum(axis=1), found.values.sum(axis=1))
    np.testing.assert_array_equal(spread.data, X)
    if groups is not None:
        np.testing.assert_allclose(np.ptp(spread.values[:, 1:], axis=1), 0, atol=1e-12)


def test_several_inputs_are_spread_by_name():
    x = {"number": normal(2, 2), "tokens": np.ones((2, 3), int)}
    problem = problem_of(two_inputs(), x, outputs=[0, 2])
    values = np.arange(20.0).reshape(2, 5, 2)
    spread = spread_explanation(explanation(problem, x, values), problem, x)
    np.testing.assert_array_equal(spread["number"].values, values[:, :2])
    np.testing.assert_array_equal(spread["tokens"].values, values[:, 2:])


def test_groups_show_means():
    problem = problem_of(model(1), X, groups=np.array([0, 1, 1, 1]))
    found = player_data([X], problem.inputs, problem.players)
    np.testing.assert_allclose(
        found, [[r[0], r[1:].mean()] for r in X], rtol=1e-6, atol=1e-6
    )
    words = player_data([X.astype(object)], problem.inputs, problem.players)
    assert np.isnan(words).all()


def test_pairs_have_two_axes_of_players():
    problem = problem_of(model(1), X)
    values = normal(3, 4, 4, 1)
    found = pairs_explanation(values, rows_of(problem, X), problem, 0.5)
    np.testing.assert_array_equal(found.values, values[..., 0])
    assert found.feature_names == problem.players.names
