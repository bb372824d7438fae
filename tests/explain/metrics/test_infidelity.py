from math import comb

import numpy as np
import pytest
import shap

from keras_ext.explain import Explainer
from keras_ext.explain.metrics import infidelity
from tests.explain.metrics import captum
from tests.explain.models import linear, normal, perceptron, two_inputs
from tests.thorough import LONG

D = captum.REFERENCE
X, BACKGROUND = normal(4, 6, seed=1), normal(7, 6, seed=2)


@pytest.fixture(scope="module")
def explainer():
    return captum.explainer()


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(
    ("name", "values"), [("removed", "integrated"), ("noise", "gradient")]
)
def test_is_that_of_captum(explainer, name, values, normalize):
    attributions = captum.explanation(values)
    found = infidelity(
        attributions, explainer, x=D["x"], perturbations=D[name], normalize=normalize
    )
    expected = D[f"infidelity/{name}/{normalize}"]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_linear_model_has_none():
    explainer = Explainer(linear([1.0, -2.0, 0.5, 0.0, 3.0, 1.0]), BACKGROUND)
    assert infidelity(explainer(X), explainer, x=X).max() < 1e-9
    gradient = np.tile([1.0, -2.0, 0.5, 0.0, 3.0, 1.0], (4, 1))
    local = shap.Explanation(gradient, base_values=np.zeros(4))
    assert infidelity(local, explainer, x=X, perturbations=normal(9, 6)).max() < 1e-9


@pytest.mark.thorough(LONG)
def test_no_values_that_add_up_are_better_than_those_of_shapley():
    # They are the best of these for sets that are drawn by the weights of Kernel SHAP.
    explainer = Explainer(perceptron(), BACKGROUND)
    found = explainer(X)
    sizes = np.array([1 / (comb(6, s) * s * (6 - s)) for s in range(1, 6)])
    numbers = np.arange(1, 63)
    subsets = (numbers[:, None] >> np.arange(6)) & 1 == 1
    repeats = np.rint(sizes[subsets.sum(axis=1) - 1] * 1800).astype(int)
    drawn = np.repeat(subsets, repeats, axis=0)
    best = infidelity(found, explainer, x=X, perturbations=drawn)
    rng = np.random.default_rng(0)
    for _ in range(5):
        shift = rng.normal(size=found.values.shape)
        shift -= shift.mean(axis=1, keepdims=True)
        other = shap.Explanation(found.values + shift, base_values=found.base_values)
        assert (infidelity(other, explainer, x=X, perturbations=drawn) > best).all()


def test_the_drawn_ones_follow_the_seed_and_remove_one_to_all():
    explainer = Explainer(perceptron(outputs=2), BACKGROUND)
    found = explainer(X)
    first = infidelity(found, explainer, x=X, seed=1)
    assert first.shape == (4, 2)
    np.testing.assert_array_equal(first, infidelity(found, explainer, x=X, seed=1))
    assert (first != infidelity(found, explainer, x=X, seed=2)).all()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_samples": 0}, r"`num_samples` must be an integer >= 1"),
        ({"seed": -1}, r"`seed` must be an integer >= 0"),
        ({"normalize": 1}, r"`normalize` must be True or False"),
        ({"perturbations": [[1, 0]]}, r"`perturbations` must be numbers to subtract"),
        ({"perturbations": np.ones((3, 5), bool)}, r"the shape \(samples, 6\)"),
        ({"perturbations": np.ones((3, 5))}, r"the shape \(samples, 6\)"),
    ],
)
def test_rejects_bad_arguments(explainer, kwargs, message):
    with pytest.raises(ValueError, match=message):
        infidelity(captum.explanation("gradient"), explainer, x=D["x"], **kwargs)


def test_nothing_can_be_subtracted_from_tokens():
    x = {"number": normal(2, 2), "tokens": np.ones((2, 3), int)}
    explainer = Explainer(two_inputs(), x, outputs="size")
    with pytest.raises(ValueError, match=r"single elements of real inputs"):
        infidelity(explainer(x), explainer, x=x, perturbations=np.ones((2, 5)))
