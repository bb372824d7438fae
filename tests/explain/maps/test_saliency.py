import keras
import numpy as np
import pytest
from keras import layers

from keras_ext.explain.maps import saliency
from tests.explain.maps import captum
from tests.explain.models import linear, normal, outputs_of, perceptron, two_inputs
from tests.thorough import LONG


@pytest.mark.parametrize("batch_size", ["auto", 4])
@pytest.mark.thorough(LONG)
def test_is_that_of_captum(batch_size):
    model = captum.model()
    found = saliency(model, captum.X, outputs=captum.TARGET, batch_size=batch_size)
    np.testing.assert_allclose(found, captum.REFERENCE["saliency"], atol=1e-6)


@pytest.mark.thorough(LONG)
def test_sign_of_a_linear_model():
    weights = [1.0, -2.0, 0.0]
    found = saliency(linear(weights), normal(4, 3), absolute=False)
    np.testing.assert_allclose(found, np.tile(weights, (4, 1)), atol=1e-7)


@pytest.mark.thorough(LONG)
def test_several_inputs_and_outputs():
    model = two_inputs()
    tokens = np.random.default_rng(0).integers(0, 7, (5, 3))
    x = {"number": normal(5, 2), "tokens": tokens}
    found = saliency(model, x, outputs=None)
    assert {name: a.shape for name, a in found.items()} == {
        "number": (5, 2, 3),
        "tokens": (5, 3, 3),
    }
    kind = saliency(model, x, outputs=("top", 1))
    top = np.argmax(np.concatenate(list(outputs(model, x)), axis=1), axis=1)
    for row, column in enumerate(top):
        np.testing.assert_allclose(
            kind["number"][row], found["number"][row, :, column], atol=1e-6
        )


def outputs(model, x):
    y = outputs_of(model, x)
    return y["kind"], y["size"]


@pytest.mark.thorough(LONG)
def test_more_outputs_than_one_graph_goes_back_from():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(20)])
    found = saliency(model, normal(2, 3), outputs=None, absolute=False)
    np.testing.assert_allclose(found[1], model.get_weights()[0], atol=1e-6)


@pytest.mark.thorough(LONG)
def test_xla_changes_nothing():
    model, x = perceptron(), normal(3, 6)
    np.testing.assert_allclose(
        saliency(model, x, jit=True), saliency(model, x), atol=1e-5
    )


def test_inference_mode():
    model = keras.Sequential(
        [keras.Input((3,)), layers.Dropout(0.9, seed=0), layers.Dense(1)]
    )
    found = saliency(model, normal(2, 3), absolute=False)
    np.testing.assert_allclose(found[0], model.get_weights()[0][:, 0], atol=1e-6)


def test_rejects_what_has_no_gradient():
    with pytest.raises(ValueError, match="`model` must be a keras.Model"):
        saliency(len, normal(2, 3))
    with pytest.raises(ValueError, match=r"`batch_size` must be an integer >= 1"):
        saliency(perceptron(), normal(2, 6), batch_size=0)
    tokens = keras.Input((3,), dtype="int32")
    model = keras.Model(tokens, layers.Dense(1)(layers.CategoryEncoding(4)(tokens)))
    with pytest.raises(ValueError, match="`inputs` must be of real numbers"):
        saliency(model, np.zeros((2, 3)))
