"""On the same weights, captum finds the same."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from keras_ext.explain import Explainer
from tests.thorough import LONG

STORED = np.load(Path(__file__).parents[1] / "fixtures" / "captum_explainer.npz")
X, BACKGROUND = STORED["x"], STORED["background"]
GROUPS = np.array([0, 0, 1, 2, 2, 2])


def network(name, activation):
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, activation),
            layers.Dense(5, activation),
            layers.Dense(2),
        ]
    )
    model.set_weights([STORED[f"{name}_{i}"] for i in range(6)])
    return model


def test_integrated_gradients():
    explainer = Explainer(
        network("smooth", "tanh"),
        BACKGROUND[:1],
        method="integrated_gradients",
        outputs=1,
    )
    found = explainer(X, tolerance=1e-5)
    np.testing.assert_allclose(found.values, STORED["integrated"], atol=1e-5)


@pytest.mark.parametrize("method", ["exact", "kernel"])
def test_shapley_values_of_groups(method):
    explainer = Explainer(
        network("smooth", "tanh"),
        BACKGROUND[:1],
        method=method,
        outputs=1,
        groups=GROUPS,
    )
    # captum gives each element of a group the value of the group.
    found = explainer(X).values[:, GROUPS]
    np.testing.assert_allclose(found, STORED["grouped"], atol=1e-5)


@pytest.mark.thorough(LONG)
def test_deep_lift_over_a_background():
    explainer = Explainer(network("bent", "relu"), BACKGROUND, method="deep", outputs=1)
    np.testing.assert_allclose(explainer(X).values, STORED["deep"], atol=1e-5)
