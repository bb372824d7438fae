import keras
import numpy as np

from keras_ext.optimizers import LAMB

GRADIENT = keras.ops.array([[3.0], [-3.0]])


def moved(value, path="kernel", **arguments):
    weight = keras.Variable(value, name=path)
    LAMB(0.1, **arguments).apply([GRADIENT], [weight])
    return weight.numpy() - np.asarray(value)


def test_a_weight_moves_by_its_own_length():
    value = np.array([[3.0], [4.0]])
    np.testing.assert_allclose(np.linalg.norm(moved(value)), 0.1 * 5, rtol=1e-5)


def test_lengths_count_up_to_the_largest():
    value = np.array([[30.0], [40.0]])
    step = moved(value, max_norm=2.0)
    np.testing.assert_allclose(np.linalg.norm(step), 0.1 * 2, rtol=1e-4)


def test_what_is_excluded_or_has_no_length_moves_as_with_adam():
    value = np.array([[3.0], [4.0]])
    adam = [[-0.1], [0.1]]  # the first step of Adam is the sign
    excluded = moved(value, path="bias", exclude=["bias"], weight_decay=0.5)
    np.testing.assert_allclose(excluded, adam, rtol=1e-5)
    np.testing.assert_allclose(moved(0 * value), adam, rtol=1e-5)
