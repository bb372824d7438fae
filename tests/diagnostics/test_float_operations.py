"""Operations, against what the layers are."""

import keras
import pytest

import keras_ext as kx


def operations(shape, *layers):
    return kx.diagnostics.float_operations(
        keras.Sequential([keras.Input(shape), *layers])
    )


def test_products_are_counted_as_the_layers_make_them():
    dense = keras.layers.Dense(5, use_bias=False)
    assert operations((7,), dense) == 2 * 7 * 5
    convolution = keras.layers.Conv2D(4, 3, padding="same", use_bias=False)
    assert operations((6, 8, 2), convolution) == 2 * 6 * 8 * 9 * 2 * 4
    strided = keras.layers.Conv1D(4, 3, strides=2, use_bias=False)
    assert operations((9, 2), strided) == 2 * 4 * 3 * 2 * 4


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


def test_a_loop_is_refused_not_counted_once():
    with pytest.raises(ValueError, match="one without loops.*unroll=True"):
        operations((5, 2), keras.layers.LSTM(3))
    unrolled = operations((5, 2), keras.layers.LSTM(3, unroll=True))
    # Products with the input and the state, of four gates at five steps.
    assert unrolled >= 2 * 5 * 4 * 3 * (2 + 3)


def test_unknown_shapes_are_refused():
    with pytest.raises(ValueError, match="`model` must be one whose inputs have known"):
        operations((None, 2), keras.layers.Dense(3))
