import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.compression import QuantizationRange


def test_follows_the_batches_from_the_first_on():
    layer = QuantizationRange(momentum=0.5)
    layer(np.float32([[-2.0, 6.0]]), training=True)
    assert (float(layer.low), float(layer.high)) == (-2.0, 6.0)
    layer(np.float32([[-1.0, 2.0]]), training=True)
    assert (float(layer.low), float(layer.high)) == (-1.5, 4.0)
    layer(np.float32([[-9.0, 9.0]]))
    assert (float(layer.low), float(layer.high)) == (-1.5, 4.0)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_rounds_to_levels_of_which_zero_is_one(bits):
    layer = QuantizationRange(bits=bits)
    x = np.linspace(-1.0, 2.1, 999, dtype="float32")[None]
    y = np.array(layer(x, training=True))
    levels = np.unique(y)
    assert len(levels) == 2**bits
    assert np.abs(levels).min() < 1e-6
    step = 3.1 / (2**bits - 1)
    np.testing.assert_allclose(np.diff(levels), step, rtol=1e-3)
    assert np.abs(y - x).max() < 1.01 * step


def test_the_gradient_goes_through_inside_of_the_range():
    layer = QuantizationRange(bits=4)
    layer(np.float32([[0.0, 1.0]]), training=True)
    x = tf.constant([[-0.5, 0.4, 1.5]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    np.testing.assert_array_equal(tape.gradient(y, x), [[0.0, 1.0, 0.0]])


def test_the_range_is_in_float32_under_any_policy():
    layer = QuantizationRange(dtype="mixed_float16")
    assert layer(np.ones((1, 2), "float16"), training=True).dtype == "float16"
    assert {v.dtype for v in layer.weights} == {"float32"}


def test_config():
    layer = QuantizationRange(bits=4, momentum=0.9, name="range")
    again = QuantizationRange.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert keras.saving.get_registered_name(QuantizationRange) == (
        "keras_ext>QuantizationRange"
    )
