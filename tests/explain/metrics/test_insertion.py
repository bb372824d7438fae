import numpy as np
import pytest

from keras_ext.explain import Explainer
from keras_ext.explain.metrics import deletion, insertion
from tests.explain.models import linear, normal, perceptron
from tests.thorough import LONG

X, BACKGROUND = normal(4, 6, seed=1), normal(7, 6, seed=2)


def test_a_linear_model_gains_its_values_one_after_the_other():
    explainer = Explainer(linear([1.0, -2.0, 0.5, 0.0, 3.0, 1.0]), BACKGROUND)
    found = explainer(X)
    falling = -np.sort(-found.values, axis=1)
    gained = np.concatenate([np.zeros((4, 1)), np.cumsum(falling, axis=1)], axis=1)
    outputs = insertion(found, explainer, x=X).outputs
    np.testing.assert_allclose(outputs, found.base_values[:, None] + gained, atol=1e-5)


@pytest.mark.thorough(LONG)
def test_it_is_deletion_in_the_opposite_order():
    explainer = Explainer(perceptron(), BACKGROUND)
    found = explainer(X)
    inserted = insertion(found, explainer, x=X)
    found.values = -found.values
    deleted = deletion(found, explainer, x=X)
    np.testing.assert_allclose(inserted.outputs, deleted.outputs[:, ::-1], atol=1e-6)
    np.testing.assert_allclose(inserted.area, deleted.area, atol=1e-6)
