import numpy as np
import pytest

from keras_ext.explain import Explainer
from keras_ext.explain._subject import Subject
from tests.explain.models import normal, outputs_of, perceptron

X = normal(3, 4)


@pytest.fixture(scope="module")
def known():
    """A model, an explainer of it, and what this says of rows."""
    model = perceptron(4, 2)
    explainer = Explainer(model, normal(2, 4, seed=1), method="exact")
    return model, explainer, explainer(X)


def test_values_and_rows_are_at_hand(known):
    model, explainer, explanation = known
    subject = Subject(explanation, explainer, X)
    np.testing.assert_array_equal(subject.values, explanation.values)
    found = subject.outputs(subject.rows.parts, subject.rows.which[:, ::-1])
    np.testing.assert_allclose(
        found, outputs_of(model, X)[:, ::-1], rtol=1e-5, atol=1e-6
    )
    again = subject.explained([X], "auto")
    np.testing.assert_allclose(again, explanation.values, rtol=1e-6, atol=1e-6)
    assert subject.shaped(np.zeros((3, 2))).shape == (3, 2)
    assert subject.shaped(np.zeros((3, 1))).shape == (3,)


def test_another_background_may_be_behind(known):
    model, explainer, explanation = known
    subject = Subject(explanation, explainer, X)
    rows, nobody = subject.rows, np.zeros((1, 4), bool)
    for background in (None, np.ones((1, 4))):
        own = normal(2, 4, seed=1) if background is None else background
        found = subject.coalitions(background).values(rows.parts, rows.which, nobody)
        expected = outputs_of(model, own).mean(axis=0)
        np.testing.assert_allclose(found[0, 0], expected, rtol=1e-4, atol=1e-6)


def test_what_does_not_belong_together_is_refused(known):
    model, explainer, explanation = known
    with pytest.raises(ValueError, match="`explanation` must be of the 2 rows, 4 play"):
        Subject(explanation, explainer, X[:2])
    with pytest.raises(ValueError, match="`explainer` must be"):
        Subject(explanation, model, X)
