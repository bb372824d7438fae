"""What is counted has its tests beside `flops`; here is what a model is."""

import keras
import pytest

import keras_ext as kx


def test_all_calls_of_a_layer_count_and_so_do_nested_models():
    dense = keras.layers.Dense(6, use_bias=False)
    inputs = keras.Input((6,))
    inner = keras.Sequential([keras.Input((6,)), dense])
    model = keras.Model(inputs, dense(inner(dense(inputs))))
    assert kx.diagnostics.float_operations(model) == 3 * 2 * 36


def test_several_inputs():
    inputs = [keras.Input((3,)), keras.Input((4,))]
    joined = keras.layers.Concatenate()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, use_bias=False)(joined))
    assert kx.diagnostics.float_operations(model) == 2 * 7 * 2


def test_unknown_shapes_are_refused():
    with pytest.raises(ValueError, match="`model` must be one whose inputs have known"):
        kx.diagnostics.float_operations(
            keras.Sequential([keras.Input((None, 2)), keras.layers.Dense(3)])
        )
