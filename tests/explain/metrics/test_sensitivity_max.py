import functools

import numpy as np
import pytest

from keras_ext.explain import Explainer
from keras_ext.explain.metrics import sensitivity_max
from tests.explain.metrics import captum
from tests.explain.models import convnet, linear, normal, outputs_of, perceptron

D = captum.REFERENCE


def test_is_that_of_captum():
    explainer = captum.explainer()
    found = sensitivity_max(
        explainer(D["x"]), explainer, x=D["x"], perturbations=D["nearby"]
    )
    np.testing.assert_allclose(found, D["sensitivity_max"], rtol=1e-3)


def test_values_of_a_linear_model_move_with_the_row():
    weights, x = np.array([1.0, -2.0, 3.0]), normal(4, 3)
    explainer = Explainer(linear(weights), np.zeros((1, 3)))
    change = np.array([[0.01, 0.02, -0.01], [0.0, 0.001, 0.0]])
    found = sensitivity_max(explainer(x), explainer, x=x, perturbations=change)
    size = np.linalg.norm(weights * change[0])
    expected = size / np.linalg.norm(weights * x, axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_grows_with_the_radius_and_the_samples():
    explainer = Explainer(perceptron(), normal(5, 6, seed=1))
    x = normal(3, 6)
    found = explainer(x)
    usual = sensitivity_max(found, explainer, x=x, num_samples=2)
    assert (sensitivity_max(found, explainer, x=x, num_samples=6) >= usual).all()
    assert (sensitivity_max(found, explainer, x=x, radius=0.2) > usual).all()
    assert (usual > 0).all()


def test_explains_the_same_output_where_another_becomes_the_highest():
    model, x = convnet(), normal(6, 4, 4, 1)
    kwargs = {"radius": 3.0, "num_samples": 3, "budget": 50}
    found = []
    for outputs in ("top", None):
        explainer = Explainer(
            model, x[:2], method="expected_gradients", outputs=outputs
        )
        found.append(sensitivity_max(explainer(x, 50), explainer, x=x, **kwargs))
    highest = outputs_of(model, x).argmax(axis=1)
    np.testing.assert_allclose(found[0], found[1][range(6), highest], rtol=1e-3)


@functools.cache
def explained():
    """An explainer, rows, and what it says of them."""
    explainer, x = Explainer(linear(np.ones(3)), np.zeros((1, 3))), normal(2, 3)
    return explainer, x, explainer(x)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"radius": 0}, r"`radius` must be a number > 0"),
        ({"num_samples": 1.5}, r"`num_samples` must be an integer >= 1"),
        ({"budget": 0}, r'`budget` must be an integer >= 1 or "auto"'),
        ({"seed": -1}, r"`seed` must be an integer >= 0"),
        ({"perturbations": np.ones(3)}, r"`perturbations` must be of the shape"),
    ],
)
def test_rejects_bad_arguments(kwargs, message):
    explainer, x, found = explained()
    with pytest.raises(ValueError, match=message):
        sensitivity_max(found, explainer, x=x, **kwargs)
