"""Finding every layer of a model."""

from collections.abc import Iterator
from typing import Any

import keras


def sublayers(layer: keras.Layer) -> list[keras.Layer]:
    """Lists the layers inside a layer or model, itself included, each once.

    `model.layers` stops at the first level; this also finds the layers that nested
    models, wrappers such as `TimeDistributed`, attention layers and custom layers
    hold in their attributes.

    Args:
        layer: A layer or model.

    Returns:
        The layers, outer ones before inner ones.

    Examples:
        >>> import keras
        >>> from keras_ext.core._sublayers import sublayers
        >>> inner = keras.Sequential([keras.layers.Dense(1, name="a")], name="inner")
        >>> outer = keras.Sequential([inner, keras.layers.ReLU(name="b")], name="outer")
        >>> [layer.name for layer in sublayers(outer)]
        ['outer', 'inner', 'a', 'b']
    """
    found: dict[int, keras.Layer] = {}
    _collect(layer, found)
    return list(found.values())


def _collect(layer: keras.Layer, found: dict[int, keras.Layer]) -> None:
    if id(layer) in found:
        return
    found[id(layer)] = layer
    # `layers` first: it has the order of the model; attributes come by name.
    for held in [getattr(layer, "layers", []), *vars(layer).values()]:
        for inner in _layers_in(held):
            _collect(inner, found)


def _layers_in(held: Any) -> Iterator[keras.Layer]:
    if isinstance(held, keras.Layer):
        yield held
    elif isinstance(held, dict):
        for item in held.values():
            yield from _layers_in(item)
    elif isinstance(held, list | tuple | set):
        for item in held:
            yield from _layers_in(item)
