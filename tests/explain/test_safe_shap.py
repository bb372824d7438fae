import importlib

import keras
import numpy as np
import pytest
import shap

from keras_ext.explain import safe_shap
from tests.explain.models import normal
from tests.thorough import LONG

# Of shap, about TensorFlow, and of Keras, about what shap puts in.
pytestmark = pytest.mark.filterwarnings("ignore")
X = normal(8, 3)


def execute():
    return importlib.import_module("tensorflow.python.eager.execute")


def registry():
    return importlib.import_module("tensorflow.python.framework.ops").gradient_registry


@pytest.fixture(autouse=True)
def _nothing_is_left():
    yield
    with safe_shap():
        pass


@pytest.fixture(scope="module")
def leaky():
    layers = [keras.Input((3,)), keras.layers.Dense(2), keras.layers.LeakyReLU()]
    return keras.Sequential([*layers, keras.layers.Dense(1)])


def fail(model):
    with pytest.raises(Exception, match="no entry for: shap_LeakyRelu"):
        shap.DeepExplainer(model, X).shap_values(X[:2])


def fit():
    """Trains a model that is new: one with a compiled step would not notice."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model.fit(X, X[:, :1], verbose=0).history["loss"][-1]


@pytest.mark.thorough(LONG)
def test_without_it_shap_leaves_tensorflow_broken_and_it_repairs_that(leaky):
    # If this fails, shap has learned to clean up, and `safe_shap` is not needed.
    fail(leaky)
    with pytest.raises(Exception, match="no entry for: shap_"):
        fit()
    with safe_shap():
        pass
    assert np.isfinite(fit())


@pytest.mark.thorough(LONG)
def test_after_failures_models_train(leaky):
    own = execute().record_gradient
    for failures in range(21):
        with safe_shap():
            fail(leaky)
        assert execute().record_gradient is own
        if failures % 20 == 0:
            assert np.isfinite(fit())
    assert not [name for name in registry().list() if name.startswith("shap_")]


@pytest.mark.thorough(LONG)
def test_contexts_within_each_other(leaky):
    own = execute().record_gradient
    with safe_shap():
        fail(leaky)
        with safe_shap():
            fail(leaky)
        assert execute().record_gradient is own
        fail(leaky)
    assert execute().record_gradient is own
    assert np.isfinite(fit())


def test_gradients_that_were_replaced_are_put_back(leaky):
    explainer = shap.DeepExplainer(leaky, X).explainer
    own, entries = registry().lookup("Relu"), registry()._registry
    explainer.orig_grads["Relu"] = own
    for enter_first in (True, False):
        context = safe_shap()
        if enter_first:
            context.__enter__()
        entries["shap_Relu"] = {**entries["Relu"], "type": explainer.custom_grad}
        entries["Relu"]["type"] = explainer.custom_grad
        if not enter_first:
            context.__enter__()
        context.__exit__(None, None, None)
        assert registry().lookup("Relu") is own
        assert "shap_Relu" not in entries


def test_results_of_shap_are_what_they_are_without_it():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    with safe_shap():
        values = shap.DeepExplainer(model, X).shap_values(X)[..., 0]
    expected = np.asarray(model.layers[0].kernel)[:, 0] * (X - X.mean(axis=0))
    np.testing.assert_allclose(values, expected, atol=1e-5)


def test_the_names_that_it_restores_are_still_there():
    backprop = importlib.import_module("tensorflow.python.eager.backprop")
    assert execute().record_gradient is backprop.record_gradient
    assert registry().lookup("Relu")
    assert {"type", "location"} <= registry()._registry["Relu"].keys()
