"""Where attention layers and recurrent cells of Keras keep their dropout.

Private names: `_dropout` and `_dropout_layer` of attention layers, and
`_create_dropout_mask` of recurrent cells.
"""

from keras import layers

from keras_ext._core._typing import Layer

# The method of a recurrent cell that draws its masks.
CREATE_MASK = "_create_dropout_mask"
_RATE = "_dropout"


def is_attention(layer: Layer) -> bool:
    """Whether a layer has a dropout layer inside for the scores, once it is built."""
    return isinstance(layer, layers.MultiHeadAttention | layers.GroupQueryAttention)


def inner_dropout(attention: Layer) -> layers.Dropout:
    """The dropout layer inside an attention layer that is built."""
    return attention._dropout_layer


def rate_name(attention: Layer) -> str:
    """The attribute in which an attention layer keeps the rate."""
    is_multi_head = isinstance(attention, layers.MultiHeadAttention)
    return _RATE if is_multi_head else "dropout"
