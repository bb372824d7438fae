import numpy as np
import pytest
import shap

from keras_ext.explain import Explainer, groups
from keras_ext.explain.metrics import deletion
from tests.explain.models import convnet, linear, normal, outputs_of, perceptron

X, BACKGROUND = normal(4, 6, seed=1), normal(7, 6, seed=2)


def test_a_linear_model_loses_its_values_one_after_the_other():
    explainer = Explainer(linear([1.0, -2.0, 0.5, 0.0, 3.0, 1.0]), BACKGROUND)
    found = explainer(X)
    curve = deletion(found, explainer, x=X)
    falling = -np.sort(-found.values, axis=1)
    outputs = found.base_values + found.values.sum(axis=1)
    lost = np.concatenate([np.zeros((4, 1)), np.cumsum(falling, axis=1)], axis=1)
    np.testing.assert_allclose(curve.outputs, outputs[:, None] - lost, atol=1e-5)
    np.testing.assert_allclose(curve.fractions, np.arange(7) / 6)


def test_rows_with_some_players_replaced_by_hand():
    model = perceptron()
    explainer = Explainer(model, BACKGROUND)
    found = explainer(X)
    curve = deletion(found, explainer, x=X, steps=3)
    assert curve.fractions.tolist() == [0, 2 / 6, 4 / 6, 1]
    for row in range(4):
        mixed = np.tile(X[row], (7, 1))
        first = np.argsort(-found.values[row])[:4]
        mixed[:, first] = BACKGROUND[:, first]
        expected = outputs_of(model, mixed).mean()
        assert curve.outputs[row, 2] == pytest.approx(expected, abs=1e-5)


def test_another_order_deletes_more_slowly():
    explainer = Explainer(perceptron(), BACKGROUND)
    found = explainer(X)
    wrong = shap.Explanation(-found.values, base_values=found.base_values)
    best, worst = (deletion(e, explainer, x=X).area for e in (found, wrong))
    assert (best < worst).all()
    same = deletion(-found.values, explainer, x=X).area
    np.testing.assert_array_equal(same, worst)


def test_images_in_squares_for_all_classes_and_a_black_background():
    model, x = convnet(), normal(2, 4, 4, 1)
    labels = groups.grid((4, 4, 1), 2)
    explainer = Explainer(model, normal(3, 4, 4, 1, seed=1), groups=labels)
    black = np.zeros((1, 4, 4, 1), "float32")
    curve = deletion(explainer(x), explainer, x=x, background=black)
    assert curve.outputs.shape == (2, 5, 3)
    start, end = (outputs_of(model, rows) for rows in (x, black))
    np.testing.assert_allclose(curve.outputs[:, 0], start, atol=1e-6)
    np.testing.assert_allclose(curve.outputs[:, -1], np.tile(end, (2, 1)), atol=1e-6)


def test_outputs_that_each_row_has_chosen():
    model, x = convnet(), normal(6, 4, 4, 1)
    explainer = Explainer(model, x[:3], method="expected_gradients", outputs="top")
    curve = deletion(explainer(x), explainer, x=x, steps=4)
    highest = outputs_of(model, x).max(axis=1)
    np.testing.assert_allclose(curve.outputs[:, 0], highest, atol=1e-6)


def test_rejects_bad_arguments():
    explainer = Explainer(linear(np.ones(6)), BACKGROUND)
    with pytest.raises(ValueError, match=r"`steps` must be an integer >= 1"):
        deletion(explainer(X), explainer, x=X, steps=0)
    with pytest.raises(ValueError, match=r"`background` must be rows of the shape "):
        deletion(explainer(X), explainer, x=X, background=BACKGROUND[:, :5])
