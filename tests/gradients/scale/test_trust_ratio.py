import keras
import numpy as np
import tensorflow as tf

from keras_ext.gradients import TrustRatio
from keras_ext.optimizers import LAMB, GradientPipeline
from tests.optimizers.wrappers.followed import followed


def test_with_adam_it_is_lamb_which_follows_optax():
    decay = 0.1
    adam = keras.optimizers.AdamW(0.05, weight_decay=decay, epsilon=1e-7)
    ours = GradientPipeline(adam, [TrustRatio(exclude="bias", max_norm=1.5)])
    # Keras's Adam adds epsilon before it corrects the average.
    lamb = LAMB(0.05, weight_decay=decay, epsilon=1e-7, exclude="bias", max_norm=1.5)
    # LAMB excludes them from the decay, too.
    adam.exclude_from_weight_decay(var_names=["bias"])
    np.testing.assert_allclose(followed(ours), followed(lamb), atol=1e-4)


def test_moves_by_the_rate_times_the_norm_whatever_the_gradient():
    for size in (1e-3, 1.0, 1e3):
        kernel = keras.Variable([[3.0], [4.0]], name="kernel")
        bias = keras.Variable([1.0], name="bias")
        pipeline = GradientPipeline(keras.optimizers.SGD(0.1), [TrustRatio()])
        pipeline.apply([tf.constant([[0.0], [size]]), tf.ones(1)], [kernel, bias])
        np.testing.assert_allclose(kernel, [[3.0], [3.5]], rtol=1e-3)
        np.testing.assert_allclose(bias, [0.9])


def test_zeros_move_as_without_it():
    kernel = keras.Variable([[0.0], [0.0]], name="kernel")
    pipeline = GradientPipeline(keras.optimizers.SGD(0.1), [TrustRatio()])
    pipeline.apply([tf.zeros((2, 1))], [kernel])
    np.testing.assert_array_equal(kernel, tf.zeros((2, 1)))
    pipeline.apply([tf.ones((2, 1))], [kernel])
    np.testing.assert_allclose(kernel, [[-0.1], [-0.1]])
