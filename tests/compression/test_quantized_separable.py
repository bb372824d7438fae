import keras
import numpy as np
import pytest

from keras_ext.compression._quantized_separable import SEPARABLE


@pytest.mark.parametrize("plain", SEPARABLE, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_it_is_the_layer_of_keras_but_for_rounding(plain, padding):
    axes = 1 if plain is keras.layers.SeparableConv1D else 2
    x = np.random.default_rng(0).normal(size=(4, *[7] * axes, 3)).astype("float32")
    options = {"strides": 2, "padding": padding, "depth_multiplier": 2}
    options |= {"activation": "relu", "bias_initializer": "ones"}
    own, layer = plain(5, 3, **options), SEPARABLE[plain](5, 3, **options)
    expected = np.array(own(x))
    layer.build(x.shape)
    for variable, value in zip(layer.weights[:3], own.weights, strict=True):
        variable.assign(value)
    found = np.array(layer(x, training=True))
    assert 0 < np.abs(found - expected).max() < 0.03 * expected.max()
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


def test_few_bits_round_both_kernels_and_what_is_between():
    layer = SEPARABLE[keras.layers.SeparableConv2D](2, 1, bits=2, learned_steps=True)
    layer.build((1, 4, 4, 3))
    assert [step.log_step.shape for step in layer.steps] == [(3,), (2,)]
    deep, point = layer._rounded()
    # As many levels below zero as above, and zero.
    for kernel in (np.array(deep)[..., 0], np.array(point)):
        assert all(len(np.unique(np.abs(c))) <= 2 for c in np.moveaxis(kernel, -1, 0))
    assert (layer.between.bits, layer.between.learned) == (2, True)
