"""Finding every layer of a model, and naming it by where it is."""

from collections import deque
from collections.abc import Iterator

import keras

from keras_ext._core._paths import joined, unique_path


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
        >>> from keras_ext._anatomy._sublayers import sublayers
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
    for inner in _held_by(layer):
        _collect(inner, found)


def layer_paths(model: keras.Layer) -> dict[keras.Layer, str]:
    """Names the layers inside a layer or model by the layers that hold them.

    Keras's own `layer.path` depends on what was built first, changes when a model is
    loaded, and says nothing of layers without weights. This one follows from the
    structure alone. Of several ways to a layer it is the shortest; layers with the same
    path are numbered, in the order of the model.

    Args:
        model: A layer or model.

    Returns:
        The paths, in the order of `sublayers`; that of `model` itself is `""`.

    Examples:
        >>> import keras
        >>> from keras_ext._anatomy._sublayers import layer_paths
        >>> drop = keras.layers.Dropout(0.1, name="drop")
        >>> block = keras.Sequential([drop], name="block")
        >>> model = keras.Sequential([block, keras.layers.Dense(1, name="head")])
        >>> list(layer_paths(model).values())
        ['', 'block', 'block/drop', 'head']
    """
    paths: dict[int, str] = {id(model): ""}
    taken: dict[str, None] = {}
    waiting = deque([model])
    while waiting:
        holder = waiting.popleft()
        for inner in _held_by(holder):
            if id(inner) not in paths:
                path = unique_path(joined(paths[id(holder)], inner.name), taken)
                paths[id(inner)] = path
                taken[path] = None
                waiting.append(inner)
    return {layer: paths[id(layer)] for layer in sublayers(model)}


def weight_paths(model: keras.Layer) -> dict[int, str]:
    """Names the trainable weights of a model by the layer that owns each.

    Args:
        model: A built layer or model.

    Returns:
        The paths, such as `"block/dense/kernel"`, by the `id` of the variable.

    Examples:
        >>> import keras
        >>> from keras_ext._anatomy._sublayers import weight_paths
        >>> dense = keras.layers.Dense(1, name="head")
        >>> model = keras.Sequential([keras.Input((2,)), dense], name="model")
        >>> list(weight_paths(model).values())
        ['head/kernel', 'head/bias']
    """
    found: dict[int, str] = {}
    taken: dict[str, None] = {}
    for layer, path in layer_paths(model).items():
        inner = {id(v) for x in _held_by(layer) for v in x.trainable_variables}
        for variable in layer.trainable_variables:
            if id(variable) not in inner and id(variable) not in found:
                own_path = unique_path(joined(path, variable.name), taken)
                found[id(variable)] = own_path
                taken[own_path] = None
    return found


def _held_by(layer: keras.Layer) -> Iterator[keras.Layer]:
    # `layers` first: it has the order of the model; attributes come by name.
    for held in [getattr(layer, "layers", []), *vars(layer).values()]:
        yield from _layers_in(held)


def _layers_in(held: object) -> Iterator[keras.Layer]:
    if isinstance(held, keras.Layer):
        yield held
    elif isinstance(held, dict):
        for item in held.values():
            yield from _layers_in(item)
    elif isinstance(held, list | tuple | set):
        for item in held:
            yield from _layers_in(item)
