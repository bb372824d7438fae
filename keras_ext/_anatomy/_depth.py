"""The order of layers from the input of a model to its output."""

from collections.abc import Iterator

import keras

from keras_ext._core._checks import require


def layers_by_depth(model: keras.Model) -> list[list[keras.Layer]]:
    """Groups the trainable layers of a model by their depth.

    Models inside the model are opened; any other layer counts as one, however many
    layers it is made of. Layers without a weight of two axes, such as normalizations,
    belong to the layer before them.

    Args:
        model: A built model. Its `layers` are taken to go from input to output, as
            those of `Sequential` and functional models do.

    Returns:
        The layers, those nearest to the input first.

    Raises:
        ValueError: If the model is not built.

    Examples:
        >>> import keras
        >>> from keras_ext._anatomy._depth import layers_by_depth
        >>> model = keras.Sequential(
        ...     [
        ...         keras.Input((4,)),
        ...         keras.layers.Dense(3, name="hidden"),
        ...         keras.layers.LayerNormalization(name="norm"),
        ...         keras.layers.Dense(2, name="head"),
        ...     ]
        ... )
        >>> [[layer.name for layer in group] for group in layers_by_depth(model)]
        [['hidden', 'norm'], ['head']]
    """
    require(model.built, "model.built", model.built, "True")
    groups: list[list[keras.Layer]] = []
    waiting: list[keras.Layer] = []
    for layer in dict.fromkeys(_opened(model)):
        if not layer.trainable_weights:
            continue
        if any(len(v.shape) > 1 for v in layer.trainable_weights):
            groups.append([*waiting, layer])
            waiting = []
        elif groups:
            groups[-1].append(layer)
        else:
            waiting.append(layer)
    return [*groups, waiting] if waiting else groups


def _opened(model: keras.Model) -> Iterator[keras.Layer]:
    for layer in model.layers:
        if isinstance(layer, keras.Model) and layer.layers:
            yield from _opened(layer)
        else:
            yield layer
