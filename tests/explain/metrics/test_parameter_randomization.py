import keras
import numpy as np
import pytest
from scipy import stats

from keras_ext.explain import Explainer
from keras_ext.explain.metrics import parameter_randomization
from tests.explain.models import normal, perceptron

X = normal(4, 6)


def nested():
    inner = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(7, "tanh", name="a")], name="inner"
    )
    norm = keras.layers.BatchNormalization(name="b")
    head = keras.layers.Dense(1, name="c")
    return keras.Sequential([keras.Input((6,)), inner, norm, head])


class Spy:
    """Keeps the kernels with which an explainer is called, and may raise."""

    def __init__(self, explainer, fail_at=None):
        self.kernels, self.fail_at = [], fail_at
        self.explain, explainer._explain = explainer._explain, self
        self.model = explainer._problem.function.model

    def __call__(self, *args):
        if len(self.kernels) == self.fail_at:
            raise RuntimeError
        self.kernels.append([np.array(v) for v in self.model.weights])
        return self.explain(*args)


def test_correlations_are_those_of_the_shuffled_model():
    weights = np.arange(1.0, 7.0)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1, name="only")])
    model.set_weights([weights[:, None], np.ones(1)])
    explainer = Explainer(model, np.zeros((1, 6)))
    explanation = explainer(X)
    spy = Spy(explainer)
    found = parameter_randomization(explanation, explainer, x=X)
    ((kernel, _),) = spy.kernels
    assert sorted(kernel[:, 0]) == weights.tolist()
    assert kernel[:, 0].tolist() != weights.tolist()
    for row, x in enumerate(X):
        expected = stats.spearmanr(weights * x, kernel[:, 0] * x).statistic
        assert found["only"][row] == pytest.approx(expected)


@pytest.mark.parametrize("cascading", [True, False])
def test_layers_are_shuffled_from_the_last_to_the_first(cascading):
    model = nested()
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    before = [np.array(w) for w in model.weights]
    explainer = Explainer(model, np.zeros((1, 6)))
    explanation = explainer(X)
    spy = Spy(explainer)
    found = parameter_randomization(explanation, explainer, x=X, cascading=cascading)
    assert list(found) == ["c", "b", "inner/a"]
    paths = [w.path.split("/")[-2] for w in model.weights]
    for step, kernels in enumerate(spy.kernels):
        changed = {
            path
            for path, old, new in zip(paths, before, kernels, strict=True)
            if not np.array_equal(old, new)
        }
        expected = {"c", "b", "a"} if cascading and step == 2 else None
        expected = expected or (set("cb"[: step + 1]) if cascading else {"cba"[step]})
        assert changed == expected
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, np.array(new))


def test_weights_are_restored_after_an_error():
    model = perceptron()
    before = model.get_weights()
    explainer = Explainer(model, np.zeros((1, 6)))
    explanation = explainer(X)
    Spy(explainer, fail_at=1)
    with pytest.raises(RuntimeError):
        parameter_randomization(explanation, explainer, x=X)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_an_explanation_of_the_model_changes_and_one_without_signs_can_be_asked_for():
    model = perceptron(outputs=2)
    explainer = Explainer(model, normal(8, 6, seed=3))
    found = parameter_randomization(explainer(X), explainer, x=X, absolute=True)
    first = list(found.values())[-1]
    assert first.shape == (4, 2)
    assert np.abs(first).mean() < 0.7
    again = parameter_randomization(explainer(X), explainer, x=X, absolute=True)
    np.testing.assert_array_equal(list(again.values())[-1], first)
    other = parameter_randomization(explainer(X), explainer, x=X, seed=3)
    assert (list(other.values())[-1] != first).any()


def test_rejects_bad_arguments():
    explainer = Explainer(perceptron(), np.zeros((1, 6)))
    for kwargs, message in (
        ({"absolute": 1}, r"`absolute` must be True or False"),
        ({"cascading": None}, r"`cascading` must be True or False"),
        ({"seed": 0.5}, r"`seed` must be an integer >= 0"),
    ):
        with pytest.raises(ValueError, match=message):
            parameter_randomization(explainer(X), explainer, x=X, **kwargs)
