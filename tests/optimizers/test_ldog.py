import keras
import numpy as np

from keras_ext.optimizers import LDoG


def test_every_weight_has_a_rate_of_its_own():
    weights = [keras.Variable([x, 0.0], name=n) for x, n in ((0.0, "a"), (9.0, "b"))]
    gradients = [keras.ops.array([30.0, 0.0]), keras.ops.array([0.0, 0.04])]
    LDoG(initial_distance=0.1, epsilon=1e-12).apply(gradients, weights)
    np.testing.assert_allclose(weights[0], [-0.1, 0], rtol=1e-5)
    np.testing.assert_allclose(weights[1], [9, -0.1 * (1 + 9)], rtol=1e-5)


def test_decay_is_multiplied_by_the_rate_of_the_weight():
    weight = keras.Variable([3.0], name="a")
    LDoG(initial_distance=0.1, weight_decay=0.5).apply(
        [keras.ops.array([8.0])], [weight]
    )
    rate = 0.1 * (1 + 3) / 8
    np.testing.assert_allclose(weight, [3 * (1 - 0.5 * rate) - 8 * rate], rtol=1e-5)
