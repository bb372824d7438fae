import numpy as np
import pytest
from sklearn.linear_model import Ridge

from keras_ext.explain import groups
from keras_ext.explain.maps import lime
from keras_ext.explain.maps._lime import kernel, ridge
from tests.explain.maps import captum
from tests.explain.models import convnet, linear, normal, perceptron, two_inputs
from tests.thorough import LONG

WEIGHTS = np.array([1.0, -2.0, 0.5, 3.0])


def test_coefficients_are_those_of_the_lime_package():
    data = captum.REFERENCE["lime_data"]
    operator = ridge(data, kernel(data, 0.25), 1.0)
    found = operator @ captum.REFERENCE["lime_values"]
    np.testing.assert_allclose(found, captum.REFERENCE["lime_expected"], atol=1e-10)


@pytest.mark.parametrize("players", [4, 50])
def test_ridge_with_fewer_and_more_players_than_samples(players):
    rng = np.random.default_rng(0)
    data, values = rng.random((20, players)) < 0.5, rng.normal(size=20)
    weights = rng.random(20)
    reference = Ridge(alpha=0.3).fit(data, values, weights)
    found = ridge(data, weights, 0.3) @ values
    np.testing.assert_allclose(found, reference.coef_, atol=1e-8)


def test_linear_models_have_their_coefficients():
    x, background = normal(5, 4), normal(6, 4, seed=1)
    found = lime(linear(WEIGHTS), x, background=background, alpha=0.0)
    expected = WEIGHTS * (x - background.mean(axis=0))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_groups_have_one_coefficient():
    x = normal(3, 4)
    found = lime(linear(WEIGHTS), x, groups=np.array([0, 0, 1, 1]), alpha=0.0)
    pairs = (WEIGHTS * x).reshape(3, 2, 2).sum(axis=2)
    np.testing.assert_allclose(found, np.repeat(pairs, 2, axis=1), atol=1e-5)
    squares = groups.grid((4, 4, 1), 2)
    found = lime(
        convnet(), normal(2, 4, 4, 1), outputs=None, groups=squares, num_samples=40
    )
    assert found.shape == (2, 4, 4, 1, 3)
    assert (found[:, 0, 0] == found[:, 1, 1]).all()


@pytest.mark.thorough(LONG)
def test_a_row_has_the_same_map_alone_and_among_others():
    model, x = perceptron(outputs=3), normal(4, 6)
    whole = lime(model, x, num_samples=50)
    alone = lime(model, x[2:3], num_samples=50, batch_size=7)
    np.testing.assert_allclose(alone, whole[2:3], atol=1e-5)
    assert not np.allclose(lime(model, x, num_samples=50, seed=1), whole)


def test_several_inputs():
    rng = np.random.default_rng(0)
    x = {"number": normal(3, 2), "tokens": rng.integers(0, 7, (3, 3))}
    found = lime(two_inputs(), x, outputs="kind", num_samples=30)
    assert {name: a.shape for name, a in found.items()} == {
        "number": (3, 2, 2),
        "tokens": (3, 3, 2),
    }


def test_rejects_bad_arguments():
    bad = {"num_samples": 1, "kernel_width": 0.0, "alpha": -1.0, "seed": 0.5}
    for name, value in bad.items():
        with pytest.raises(ValueError, match=f"`{name}` must be"):
            lime(perceptron(), normal(2, 6), **{name: value})
