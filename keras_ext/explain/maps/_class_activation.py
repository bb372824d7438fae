"""Maps by the activations of a layer of an image model, and their gradients."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from keras_ext._anatomy._linked_method import Link, Method, linked_calls
from keras_ext._anatomy._sublayers import layer_paths
from keras_ext._core._checks import require
from keras_ext._core._typing import Data, Layer, Tensor
from keras_ext.explain._problem import gathered
from keras_ext.explain.maps._question import Question

_IMAGE = "(rows, height, width, channels)"
# From activations and gradients, `(rows, height, width, channels)`, to a map.
Rule = Callable[[Tensor, Tensor], Tensor]


def class_activation(
    question: Question, layer: Layer, resize: bool, rule: Rule
) -> np.ndarray:
    """Computes a map for each output: `(rows, height, width)`, and outputs if several.

    Args:
        question: The model, rows and outputs.
        layer: The layer, its name or path, or None for the last that gives images.
        resize: Whether the map is brought to the size of the input.
        rule: How activations and gradients become a map.

    Raises:
        ValueError: If there is no such layer or image, or no gradient at the layer.
    """
    target = _find(question, layer)
    size = _size(question, target) if resize else None

    def compute(parts: list[Tensor], which: Tensor) -> Tensor:
        seen: list[Tensor] = []
        # Only the activations are watched: variables would keep more than is needed.
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            with linked_calls([target], lambda layer: _watching(layer, seen, tape)):
                columns = question.function(parts)
            columns = question.function.pick(columns, which)
            outputs = tf.unstack(columns, axis=1)
        activations = _last(seen, target)
        maps = [
            rule(activations, _last([tape.gradient(y, seen[-1])], target))
            for y in outputs
        ]
        found = tf.stack(maps, axis=-1)
        return found if size is None else tf.image.resize(found, size)

    found = question.mapped(question.compiled(compute))
    return found[..., 0] if found.shape[-1] == 1 else found


def _find(question: Question, layer: Layer) -> keras.Layer:
    model = question.function.model
    if layer is None:
        return _last_of_images(question)
    paths = layer_paths(model)
    same = [
        own for own, path in paths.items() if own is layer or layer in (own.name, path)
    ]
    rule = f"a layer of the model, its name or its path, one of {list(paths.values())}"
    require(bool(same), "layer", layer, rule)
    return same[0]


def _last_of_images(question: Question) -> keras.Layer:
    """The layer of the model, or of one in it, that is the last to give images."""
    seen: list[keras.Layer] = []

    def noting(layer: Layer) -> Link:
        def link(call: Method) -> Method:
            def note(*args: object, **kwargs: object) -> object:
                output = call(*args, **kwargs)
                if _is_image(output):
                    seen.append(layer)
                return output

            return note

        return link

    with linked_calls(_layers(question.function.model), noting):
        question.function(gathered([part[:1] for part in question.parts]))
    rule = f"given for a model in which no layer gives an output {_IMAGE}"
    require(bool(seen), "layer", None, rule)
    return seen[-1]


def _layers(model: keras.Model) -> list[keras.Layer]:
    """Those that models hold, and not those that layers hold, such as attention."""
    found: dict[int, keras.Layer] = {}
    for layer in model.layers:
        inside = [layer, *(_layers(layer) if isinstance(layer, keras.Model) else [])]
        found |= {id(own): own for own in inside}
    return list(found.values())


def _is_image(output: Data) -> bool:
    return (
        tf.is_tensor(output)
        and output.dtype.is_floating
        and output.shape.rank == 4
        # More than the channels of a single place, be they first or last.
        and int(np.prod(output.shape[1:])) > max(output.shape[1], output.shape[3])
    )


def _watching(layer: Layer, seen: list[Tensor], tape: tf.GradientTape) -> Link:
    def link(call: Method) -> Method:
        def watch(*args: object, **kwargs: object) -> Tensor:
            output = call(*args, **kwargs)
            rank = output.shape.rank if tf.is_tensor(output) else None
            rule = f"a layer whose output is of the form {_IMAGE}"
            require(rank == 4, "layer", layer.name, rule)
            # A layer may return what it was given, which is then not to be watched.
            output = tf.identity(output)
            tape.watch(output)
            seen.append(output)
            return output

        return watch

    return link


def _last(seen: list[Tensor | None], layer: Layer) -> Tensor:
    """The last of some tensors, in float32 with the channels last."""
    known = bool(seen) and seen[-1] is not None
    require(known, "layer", layer.name, "a layer that the outputs have a gradient at")
    tensor = tf.cast(seen[-1], tf.float32)
    return tf.transpose(tensor, (0, 2, 3, 1)) if _is_first(layer) else tensor


def _is_first(layer: Layer) -> bool:
    """Whether the channels come before the places."""
    known = getattr(layer, "data_format", None) or keras.config.image_data_format()
    return bool(known == "channels_first")


def _size(question: Question, layer: Layer) -> tuple[int, ...]:
    """The height and width of the first input that is an image."""
    images = [shape for shape in question.inputs.shapes if len(shape) == 3]
    rule = f"False for inputs of which none is of the form {_IMAGE}"
    require(bool(images), "resize", True, rule)
    shape = images[0]
    return tuple(shape[1:] if _is_first(layer) else shape[:2])
