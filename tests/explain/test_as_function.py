import numpy as np
import pytest
import shap

from keras_ext.explain import Explainer, as_function
from tests.explain.models import convnet, normal, outputs_of, perceptron, two_inputs
from tests.thorough import LONG


def rows(n):
    rng = np.random.default_rng(0)
    return {"number": normal(n, 2), "tokens": rng.integers(0, 7, (n, 3))}


@pytest.mark.thorough(LONG)
def test_packs_any_structure_flat_and_back():
    model, x = two_inputs(), rows(5)
    function = as_function(model, x)
    flat = function.pack(x)
    assert flat.shape == (5, 5)
    back = function.unpack(flat)
    for name, array in x.items():
        np.testing.assert_array_equal(back[name], array)
    y = outputs_of(model, x)
    expected = np.concatenate([y["kind"], y["size"]], axis=1)
    np.testing.assert_allclose(function(flat), expected, atol=1e-6)
    assert function.output_names == ["kind[0]", "kind[1]", "size"]
    np.testing.assert_array_equal(function(flat - 1e-9), function(flat))


@pytest.mark.thorough(LONG)
def test_any_explainer_of_shap_can_call_it():
    model, x = two_inputs(), rows(6)
    function = as_function(model, x, outputs="size")
    flat = function.pack(x)
    names = function.feature_names
    reference = shap.ExactExplainer(function, flat, feature_names=names)(flat)
    found = Explainer(model, x, outputs="size")(x)
    np.testing.assert_allclose(found.values, reference.values, atol=1e-6)
    assert list(found.feature_names) == list(reference.feature_names)


@pytest.mark.parametrize("batch_size", ["auto", 3])
def test_images_in_chunks(batch_size):
    model, x = convnet(), normal(7, 4, 4, 1)
    function = as_function(model, x, batch_size=batch_size, jit=batch_size == 3)
    found = function(function.pack(x))
    np.testing.assert_allclose(found, outputs_of(model, x), atol=1e-6)


def test_rejects_what_it_cannot_take():
    function = as_function(perceptron(), normal(2, 6))
    with pytest.raises(ValueError, match=r"`flat` must be of the shape \(rows, 6\)"):
        function(np.zeros((2, 5)))
    with pytest.raises(ValueError, match=r'`outputs` must be other than "top"'):
        as_function(perceptron(), normal(2, 6), outputs="top")
    with pytest.raises(ValueError, match=r"`batch_size` must be an integer >= 1"):
        as_function(perceptron(), normal(2, 6), batch_size=-1)
    with pytest.raises(ValueError, match=r"`model` must be a keras.Model"):
        as_function(len, normal(2, 6))
