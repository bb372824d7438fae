"""What the maps by activations of a layer have in common."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_ext.explain.maps import grad_cam, layer_cam
from tests.explain.maps import captum
from tests.explain.models import normal, perceptron, two_inputs
from tests.thorough import LONG

X = normal(3, 6, 6, 2)


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    def __init__(self, inner):
        super().__init__()
        self.parts = [inner, layers.GlobalAveragePooling2D(keepdims=True)]
        self.head = layers.Dense(2, use_bias=False)

    def call(self, inputs):
        x = inputs
        for part in self.parts:
            x = part(x)
        return ops.squeeze(self.head(x), (1, 2))


def convolution(**kwargs):
    return layers.Conv2D(4, 3, padding="same", activation="relu", **kwargs)


def nested():
    inner = keras.Sequential([keras.Input((6, 6, 2)), convolution(name="conv")])
    inputs = keras.Input((6, 6, 2))
    pooled = layers.GlobalAveragePooling2D()(inner(inputs))
    return keras.Model(inputs, layers.Dense(2, use_bias=False)(pooled)), inner.layers[0]


def subclassed():
    inner = convolution(name="conv")
    model = Subclassed(inner)
    model(X)
    return model, inner


@pytest.mark.parametrize("make", [nested, subclassed])
def test_closed_form_in_models_of_any_kind(make):
    """With mean pooling and a linear head, the map is the activations times weights."""
    model, conv = make()
    weights = model.get_weights()[-1]
    activations = conv(X).numpy()
    expected = np.maximum(np.einsum("rhwc,co->rhwo", activations, weights) / 36, 0)
    found = grad_cam(model, X, outputs=None)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(
        grad_cam(model, X, outputs=None, layer="conv"), found, atol=1e-6
    )
    np.testing.assert_allclose(
        grad_cam(model, X, outputs=None, layer=conv), found, atol=1e-6
    )
    assert "call" not in vars(conv)


@pytest.mark.thorough(LONG)
def test_attention_within_a_layer_is_no_image():
    inputs = keras.Input((6, 6, 2))
    conv = convolution(name="conv")
    rows = layers.Reshape((36, 4))(conv(inputs))
    rows = layers.MultiHeadAttention(2, 3)(rows, rows)
    model = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(rows)))
    np.testing.assert_array_equal(
        layer_cam(model, X), layer_cam(model, X, layer="conv")
    )


@pytest.mark.thorough(LONG)
def test_chunks_and_xla_change_nothing():
    model = captum.model()
    whole = grad_cam(model, captum.X, outputs=None)
    assert whole.shape == (3, 8, 8, 3)
    chunks = grad_cam(model, captum.X, outputs=None, batch_size=3, jit=True)
    np.testing.assert_allclose(chunks, whole, atol=1e-6)


@pytest.mark.thorough(LONG)
def test_images_among_other_inputs():
    image, number = keras.Input((6, 6, 2), name="image"), keras.Input((3,), name="n")
    pooled = layers.GlobalAveragePooling2D()(convolution(strides=2)(image))
    head = layers.Dense(1)(layers.Concatenate()([pooled, number]))
    model = keras.Model({"image": image, "n": number}, head)
    x = {"image": X, "n": normal(3, 3)}
    assert grad_cam(model, x).shape == (3, 6, 6)
    assert grad_cam(model, x, resize=False).shape == (3, 3, 3)


@pytest.mark.thorough(LONG)
def test_says_what_is_missing():
    with pytest.raises(ValueError, match="`layer` must be given for a model in which"):
        grad_cam(perceptron(), normal(2, 6))
    model, x = captum.model(), captum.X
    with pytest.raises(ValueError, match=r"`layer` must be a layer .*'second'"):
        grad_cam(model, x, layer="third")
    with pytest.raises(ValueError, match="`layer` must be a layer whose output is"):
        grad_cam(model, x, layer=model.layers[-1].name)
    with pytest.raises(ValueError, match="`resize` must be True or False"):
        grad_cam(model, x, resize=3)
    rows = {"number": normal(2, 2), "tokens": np.zeros((2, 3))}
    with pytest.raises(ValueError, match="`layer` must be given"):
        grad_cam(two_inputs(), rows)
    inputs = keras.Input((6,))
    image = layers.Reshape((3, 2, 1))(inputs)
    model = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(image)))
    with pytest.raises(ValueError, match="`resize` must be False for inputs"):
        grad_cam(model, normal(2, 6))
    assert grad_cam(model, normal(2, 6), resize=False).shape == (2, 3, 2)


def test_a_layer_without_a_gradient():
    inputs = keras.Input((6, 6, 2))
    stopped = ops.stop_gradient(convolution(name="conv")(inputs))
    model = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(stopped)))
    with pytest.raises(ValueError, match="`layer` must be a layer that the outputs"):
        grad_cam(model, X, layer="conv")
