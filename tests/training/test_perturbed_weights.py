import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext._anatomy._trial import called
from keras_ext.training._perturbed_weights import PerturbedWeights

X = np.random.default_rng(0).normal(size=(8, 2)).astype("float32")


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense(1, dtype="mixed_bfloat16", name="dense")
    norm = keras.layers.BatchNormalization(name="norm")
    model = keras.Sequential([keras.Input((2,)), norm, dense])
    model.add(keras.layers.Dropout(0.5, seed=1))
    return model


def test_a_gradient_at_other_weights_while_all_else_is_as_ever(model):
    kernel = model.get_layer("dense").kernel
    # Less than bfloat16 can add to a weight of this size.
    kernel.assign([[256.0], [0.0]])
    delta = np.float32([[1.0], [2.0]])
    weights = model.get_weights()
    perturbed = PerturbedWeights(model, [(kernel, tf.constant(delta))])
    with tf.GradientTape() as tape:
        with perturbed(is_forward=True):
            output = called(model, X, training=True)
        with perturbed(is_forward=False):
            # Weights only, in single precision.
            loss = keras.ops.sum(kernel.value**2)
    gradient = tape.gradient(loss, kernel.value)
    np.testing.assert_array_equal(gradient, 2 * (weights[4] + delta))
    np.testing.assert_array_equal(kernel, weights[4])
    written = model.get_layer("norm").moving_mean
    np.testing.assert_allclose(written, 0.01 * X.mean(0), rtol=1e-5)
    assert perturbed.was_called
    # The masks of the next pass are others.
    masks = [np.asarray(called(model, X, training=True)) == 0, np.asarray(output) == 0]
    assert (masks[0] != masks[1]).any()
