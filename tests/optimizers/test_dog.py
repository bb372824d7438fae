import keras
import numpy as np

from keras_ext.optimizers import DoG
from tests.optimizers.steps import steps_of


def test_the_first_step_is_as_long_as_the_first_distance():
    start = np.array([3.0, 4.0])
    (step,) = steps_of(DoG(initial_distance=0.1), [[0.0, 70.0]], start)
    np.testing.assert_allclose(step, [0, -0.1 * (1 + 5)], rtol=1e-5)


def test_all_weights_have_one_rate():
    weights = [keras.Variable(np.zeros(2, "float32"), name=n) for n in "ab"]
    gradients = [keras.ops.array([30.0, 0.0]), keras.ops.array([0.0, 40.0])]
    DoG(initial_distance=0.1).apply(gradients, weights)
    np.testing.assert_allclose(weights[0], [-0.1 * 30 / 50, 0], rtol=1e-5)
    np.testing.assert_allclose(weights[1], [0, -0.1 * 40 / 50], rtol=1e-5)


def test_the_rate_is_the_distance_over_the_gradients():
    _, second = steps_of(DoG(initial_distance=0.5), [3.0, 4.0])
    # It has gone 0.5, and has seen 3 and 4.
    np.testing.assert_allclose(second, -0.5 / 5 * 4, rtol=1e-5)
