import functools
import itertools

import numpy as np
import pytest
import shap

from keras_ext.explain import Explainer
from tests.explain.models import Formula, normal, perceptron
from tests.thorough import LONG


def by_orders(model, row, background):
    """By going through the orders of players, of which two always come together."""
    count = len(row)

    @functools.cache
    def of(members):
        mixed = np.where(np.isin(np.arange(count), list(members)), row, background)
        return np.asarray(model(mixed.astype("float32"))).mean(axis=0)

    def value(members):
        return of(frozenset(members))

    found = np.zeros((count, count, model.output_shape[-1]))
    for i, j in itertools.permutations(range(count), 2):
        others = [k for k in range(count) if k not in (i, j)]
        gains = []
        for order in itertools.permutations([*others, "pair"]):
            before = {*order[: order.index("pair")]}
            gains.append(
                value(before | {i, j})
                - value(before | {i})
                - value(before | {j})
                + value(before)
            )
        found[i, j] = np.mean(gains, axis=0) / 2
    return found


@pytest.mark.thorough(LONG)
def test_by_their_definition():
    model, background = perceptron(4, 2), normal(3, 4, seed=1)
    x = normal(2, 4)
    explainer = Explainer(model, background)
    found = explainer.interactions(x)
    assert found.values.shape == (2, 4, 4, 2)
    for values, row in zip(found.values, x, strict=True):
        expected = by_orders(model, row, background)
        off = ~np.eye(4, dtype=bool)
        np.testing.assert_allclose(values[off], expected[off], atol=1e-6)
    np.testing.assert_allclose(found.values.sum(axis=2), explainer(x).values, atol=1e-6)
    np.testing.assert_allclose(found.base_values, explainer(x).base_values)


def test_products_are_shared_and_others_are_alone():
    """Of `a * b * c` each pair has a half of its share, see the definition."""
    model = Formula(lambda a, b, c, d, e: a * b * c + d)
    x = np.array([[2.0, 3.0, 4.0, 5.0, 6.0]])
    found = Explainer(model, np.zeros((1, 5)), method="permutation").interactions(x)
    expected = np.zeros((5, 5))
    expected[:3, :3] = 6.0
    expected[[0, 1, 2, 3], [0, 1, 2, 3]] = [-4.0, -4.0, -4.0, 5.0]
    np.testing.assert_allclose(found.values[0], expected, atol=1e-5)
    assert list(found.feature_names) == [f"feature {i}" for i in range(5)]
    assert found[0].values.shape == (5, 5)
    assert isinstance(found, shap.Explanation)


@pytest.mark.thorough(LONG)
def test_groups_highest_outputs_and_a_single_player():
    model, x = perceptron(6, 3), normal(4, 6)
    labels = np.array([0, 0, 1, 1, 2, 2])
    found = Explainer(model, x, groups=labels, outputs="top").interactions(x)
    assert found.values.shape == (4, 3, 3)
    names = [str(i) for i in np.asarray(model(x)).argmax(axis=1)]
    assert list(found.output_names) == names
    alone = Explainer(model, x, groups=0 * labels, outputs=1)
    (values,) = alone.interactions(x[:1]).values
    np.testing.assert_allclose(values, alone(x[:1]).values)


def test_too_many_players():
    model = Formula(lambda *columns: sum(columns))
    explainer = Explainer(model, np.zeros((1, 17)))
    with pytest.raises(ValueError, match="`players` must be <= 16.*`groups`"):
        explainer.interactions(np.ones((1, 17)))
