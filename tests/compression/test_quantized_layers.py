import keras
import numpy as np
import pytest

from keras_ext.compression._quantized_layers import QUANTIZED

ARGUMENTS = {"Dense": (3,), "Conv2D": (3, 2), "DepthwiseConv2D": (2,)}


@pytest.mark.parametrize("plain", QUANTIZED, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("bits", [3, 8])
def test_kernels_are_rounded_by_their_largest_entries(plain, bits):
    kind = QUANTIZED[plain]
    shape = (1, 4) if plain is keras.layers.Dense else (1, 5, 5, 4)
    layer = kind(*ARGUMENTS[plain.__name__], bits=bits)
    layer.build(shape)
    (kernel,) = layer.trainable_variables[:1]
    values = np.array(kernel)
    if plain is keras.layers.DepthwiseConv2D:
        values = values.reshape(*values.shape[:2], -1)
    axes = None if plain is keras.layers.Dense else tuple(range(values.ndim - 1))
    step = np.abs(values).max(axes) / (2 ** (bits - 1) - 1)
    expected = np.round(values / step) * step
    actual = np.array(layer.kernel).reshape(expected.shape)
    np.testing.assert_allclose(actual, expected, atol=1e-6)
    again = kind.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
