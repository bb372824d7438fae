import keras
import numpy as np
from keras import layers

from keras_ext.explain.maps import input_x_gradient
from tests.explain.maps import captum


def test_is_that_of_captum():
    found = input_x_gradient(captum.model(), captum.X, outputs=captum.TARGET)
    np.testing.assert_allclose(found, captum.REFERENCE["input_x_gradient"], atol=1e-6)


def test_tokens_add_up_to_a_linear_function_of_their_embeddings():
    model = keras.Sequential(
        [
            keras.Input((4,), dtype="int32"),
            layers.Embedding(6, 3),
            layers.Flatten(),
            layers.Dense(2, use_bias=False),
        ]
    )
    x = np.array([[0, 1, 1, 5], [2, 3, 4, 4]])
    found = input_x_gradient(model, x, outputs=None)
    assert found.shape == (2, 4, 2)
    outputs = model(x).numpy()
    np.testing.assert_allclose(found.sum(axis=1), outputs, atol=1e-6)
