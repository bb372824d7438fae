import numpy as np
import pytest
import shap

from keras_ext.explain import Explainer
from keras_ext.explain.metrics import additivity
from tests.explain.models import convnet, linear, normal
from tests.thorough import LONG

X = normal(5, 3)


def test_values_that_miss_the_output():
    explainer = Explainer(linear([1.0, -2.0, 3.0]), np.zeros((1, 3)))
    found = explainer(X)
    assert additivity(found, explainer, x=X).max() < 1e-6
    found.values[:, 1] += 0.3
    outputs = X @ np.array([1.0, -2.0, 3.0])
    expected = np.full(5, 0.3) / np.abs(outputs).max()
    np.testing.assert_allclose(additivity(found, explainer, x=X), expected, rtol=1e-5)


@pytest.mark.thorough(LONG)
def test_several_outputs_and_chosen_ones():
    model, x = convnet(), normal(3, 4, 4, 1)
    explainer = Explainer(
        model, normal(4, 4, 4, 1, seed=1), method="expected_gradients"
    )
    miss = additivity(explainer(x), explainer, x=x)
    assert miss.shape == (3, 3)
    assert miss.max() < 1e-5
    top = Explainer(model, x, method="expected_gradients", outputs="top")
    assert additivity(top(x), top, x=x).shape == (3,)


def test_rejects_explanations_of_something_else():
    explainer = Explainer(linear(np.ones(3)), np.zeros((1, 3)))
    found = explainer(X)
    with pytest.raises(ValueError, match=r"of the 4 rows, 3 players and 1 outputs"):
        additivity(found, explainer, x=X[:4])
    with pytest.raises(ValueError, match=r"`explainer` must be a keras_ext.explain"):
        additivity(found, len, x=X)
    with pytest.raises(ValueError, match=r"of several rows.*explanation\[:1\]"):
        additivity(found[0], explainer, x=X)
    without_base = shap.Explanation(found.values)
    with pytest.raises(ValueError, match=r"`explanation.base_values` must be"):
        additivity(without_base, explainer, x=X)
