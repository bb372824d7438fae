"""Standardized gradients against SciPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from keras_ext.gradients import Standardize
from tests.streams import STREAM, assert_equal_streams, transformed


def test_equals_scipy_over_a_stream_of_gradients():
    expected = {
        name: np.stack([_zscore(g) for g in gradients])
        for name, gradients in STREAM.items()
    }
    # A gradient of 1e-7 times the usual comes near to the epsilon.
    actual = transformed(Standardize(1e-20))
    assert_equal_streams(actual, expected, rtol=2e-6)


def _zscore(gradient):
    if not gradient.any():
        return gradient
    return np.float32(stats.zscore(np.float64(gradient), axis=None))


def test_epsilon_is_added_to_the_deviation():
    gradients = {"hidden/bias": STREAM["hidden/bias"]}
    (actual,) = transformed(Standardize(0.5), gradients).values()
    exact = np.float64(STREAM["hidden/bias"])
    centered = exact - exact.mean(1, keepdims=True)
    deviation = np.sqrt((centered**2).mean(1, keepdims=True))
    np.testing.assert_allclose(actual, centered / (deviation + 0.5), atol=1e-6)


@pytest.mark.parametrize("number", [0.1, 1e-30, -3e4, 1e17])
@pytest.mark.parametrize("size", [2, 3, 1000])
def test_numbers_that_are_all_equal_become_zero(number, size):
    """And not the rounding of their mean, blown up to 1."""
    (actual,) = one(Standardize(), np.full(size, number, "float32"))
    np.testing.assert_array_equal(actual, 0.0)


def one(transform, gradient):
    variable = keras.Variable(np.zeros(gradient.shape), dtype="float32", name="w")
    transform.build([variable], {})
    return transform([tf.constant(gradient)], [variable])


def test_a_single_number_is_left_alone():
    (actual,) = one(Standardize(), np.float32([3.0]))
    assert float(actual[0]) == 3.0


def test_is_computed_in_float32_and_keeps_the_precision():
    # Squares, 1e-10, that float16 does not hold.
    gradient = np.float16([1e-5, -1e-5, 3e-5, -3e-5])
    (actual,) = one(Standardize(), gradient)
    assert actual.dtype == "float16"
    expected = stats.zscore(np.float64(gradient))
    np.testing.assert_allclose(np.float64(actual), expected, rtol=1e-3)


def test_rejects_bad_arguments():
    message = r"`epsilon` must be a number > 0\. Received: epsilon=0\."
    with pytest.raises(ValueError, match=message):
        Standardize(0)
