"""A Keras that keeps its dropout elsewhere must fail here."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_ext._keras._dropout_internals import (
    CREATE_MASK,
    inner_dropout,
    is_attention,
    rate_name,
)

ATTENTION = {
    "multi-head": lambda: layers.MultiHeadAttention(2, 3, dropout=0.25),
    "grouped": lambda: layers.GroupQueryAttention(3, 2, 1, dropout=0.25),
}


def built(kind):
    layer = ATTENTION[kind]()
    layer.build((1, 4, 6), (1, 4, 6))
    return layer


@pytest.mark.parametrize("kind", ATTENTION)
def test_attention_keeps_its_rate_in_two_places(kind):
    layer = built(kind)
    assert isinstance(inner_dropout(layer), layers.Dropout)
    assert inner_dropout(layer).rate == getattr(layer, rate_name(layer)) == 0.25
    assert layer.get_config()["dropout"] == 0.25
    setattr(layer, rate_name(layer), 0.5)
    assert layer.get_config()["dropout"] == 0.5


@pytest.mark.parametrize("kind", ATTENTION)
def test_attention_drops_by_the_inner_layer(kind):
    layer = built(kind)
    seen = []
    inner = inner_dropout(layer)
    call = inner.call

    def spy(inputs, training=False):
        seen.append(training)
        return call(inputs, training=training)

    object.__setattr__(inner, "call", spy)
    x = keras.ops.ones((1, 4, 6))
    layer(x, x, training=True)
    assert seen == [True]


def test_only_attention_is_attention():
    assert all(is_attention(make()) for make in ATTENTION.values())
    assert not is_attention(layers.Dropout(0.5))


@pytest.mark.parametrize(
    "make", [layers.LSTMCell, layers.GRUCell, layers.SimpleRNNCell]
)
def test_cells_draw_their_masks_by_one_method(make):
    cell = make(2, dropout=0.5)
    seen = []

    def zeros(step_input, rate):
        seen.append(rate)
        count = getattr(cell, "dropout_mask_count", None)
        mask = keras.ops.zeros_like(step_input)
        return mask if count is None else [mask] * count

    assert callable(getattr(cell, CREATE_MASK))
    object.__setattr__(cell, CREATE_MASK, zeros)
    masks = cell.get_dropout_mask(keras.ops.ones((3, 4)))
    assert seen == [0.5]
    assert all(not np.any(mask) for mask in keras.tree.flatten(masks))
