"""A background of one step stands for as many as the rows have."""

import keras
import numpy as np
import pytest

from keras_ext.explain import Explainer

RNG = np.random.default_rng(0)
STEP = RNG.normal(size=(2, 1, 2)).astype("float32")


def shapley_values(x, b):
    """Of sums of products of two: each has half of what the other changes about it."""
    found = np.zeros_like(x)
    for own, other in (
        (np.s_[:, 0], np.s_[:, 1]),  # both features of a step
        (np.s_[1:, 0], np.s_[:-1, 1]),  # neighbors
    ):
        found[own] += (x[own] - b[own]) * (x[other] + b[other]) / 2
        found[other] += (x[other] - b[other]) * (x[own] + b[own]) / 2
    return found


class Products(keras.layers.Layer):
    def call(self, inputs):
        first, second = keras.ops.unstack(inputs, axis=-1)
        found = keras.ops.sum(first * second, axis=1)
        found += keras.ops.sum(first[:, 1:] * second[:, :-1], axis=1)
        return found[:, None]


def model_of(steps):
    return keras.Sequential([keras.Input((steps, 2)), Products()])


@pytest.fixture(scope="module")
def explainer():
    return Explainer(model_of(None), STEP, method="exact")


@pytest.mark.parametrize("steps", [3, 1, 4])
def test_values_are_those_against_equal_steps(explainer, steps):
    x = RNG.normal(size=(2, steps, 2)).astype("float32")
    found = explainer(x)
    for values, row in zip(found.values, x, strict=True):
        expected = [shapley_values(row, np.repeat(b, steps, axis=0)) for b in STEP]
        np.testing.assert_allclose(values, np.mean(expected, axis=0), atol=1e-5)
    shapes = explainer.interactions(x[:1]).shape, explainer.spread(found, x).shape
    assert shapes == ((1, row.size, row.size), x.shape)


def test_each_input_goes_by_its_name():
    sequence, vector = keras.Input((None, 2), name="z"), keras.Input((1,), name="a")
    model = keras.Model(
        {"z": sequence, "a": vector}, Products()(sequence) * 2.0 + vector
    )
    # Keras adds the axis of the second input by itself.
    explainer = Explainer(model, {"z": 0.0 * STEP, "a": np.zeros(2)})
    found = explainer({"a": np.ones(1), "z": np.ones((1, 3, 2))})
    names = dict(zip(found.feature_names, found.values[0], strict=True))
    assert names["a"] == pytest.approx(1.0)
    # Three products in a step and two of neighbors, half to each of both.
    assert names["z[1,0]"] == pytest.approx(2.0, abs=1e-5)


def test_several_steps_do_not_say_how_to_go_on():
    explainer = Explainer(model_of(None), np.ones((1, 3, 2)))
    with pytest.raises(ValueError, match="Pass a background of one step"):
        explainer(np.ones((1, 4, 2)))
