"""Recurrent layers without a loop."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from keras_ext._anatomy._sublayers import sublayers


@contextmanager
def unrolled(model: keras.Model) -> Iterator[None]:
    """Lets recurrent layers write out their steps, in what is traced within."""
    rolled = [
        layer
        for layer in sublayers(model)
        if isinstance(layer, keras.layers.RNN) and not layer.unroll
    ]
    for layer in rolled:
        layer.unroll = True
    try:
        yield
    finally:
        for layer in rolled:
            layer.unroll = False
