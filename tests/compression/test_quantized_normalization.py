import keras
import numpy as np
import pytest

from keras_ext.compression._quantized_normalization import (
    QuantizedLayerNormalization,
    QuantizedNormalization,
)

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(3,), (5, 3), (4, 5, 3), (2, 4, 5, 3)])
@pytest.mark.parametrize("options", [{}, {"scale": False, "center": False}])
def test_it_is_the_layer_of_keras(shape, options):
    own = keras.layers.BatchNormalization(**options)
    layer = QuantizedNormalization(**options)
    x = RNG.normal(2.0, 3.0, size=(6, *shape)).astype("float32")
    own.build(x.shape), layer.build(x.shape)
    for variable, other in zip(own.weights, layer.weights, strict=True):
        value = RNG.uniform(0.1, 9.0, variable.shape) * [1, -1, 1]
        value = np.abs(value) if "variance" in variable.name else value
        variable.assign(value), other.assign(value)
    np.testing.assert_allclose(layer(x), own(x), rtol=1e-5, atol=1e-5)
    trained = layer(x, training=True)
    np.testing.assert_allclose(trained, own(x, training=True), rtol=1e-5, atol=1e-5)
    for variable, other in zip(own.weights, layer.weights, strict=True):
        np.testing.assert_array_equal(other, variable)


def test_channels_that_are_not_last_are_those_of_keras():
    layer, own = QuantizedNormalization(axis=1), keras.layers.BatchNormalization(axis=1)
    x = RNG.normal(size=(6, 3, 5)).astype("float32")
    np.testing.assert_array_equal(layer(x), own(x))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"axis": [1, 2], "epsilon": 0.1},
        {"axis": 1, "center": False},
        {"scale": False},
        {"dtype": "mixed_float16"},
    ],
)
def test_layers_are_normalized_as_in_keras(options):
    own = keras.layers.LayerNormalization(**options)
    layer = QuantizedLayerNormalization(**options)
    x = RNG.normal(2.0, 3.0, size=(6, 5, 3)).astype("float32")
    own.build(x.shape), layer.build(x.shape)
    for variable, other in zip(own.weights, layer.weights, strict=True):
        value = RNG.normal(size=variable.shape)
        variable.assign(value), other.assign(value)
    assert layer(x).dtype == own(x).dtype
    atol = 1e-2 if "dtype" in options else 1e-5
    np.testing.assert_allclose(layer(x), own(x), rtol=atol, atol=atol)
