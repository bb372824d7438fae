"""The numbers of a model that Keras compiles into the training step."""

from collections.abc import Iterator
from dataclasses import replace

import keras

from keras_ext._anatomy._sublayers import layer_paths, sublayers
from keras_ext._core._paths import unique_path
from keras_ext._core._typing import Layer
from keras_ext._keras._dropout_internals import is_attention
from keras_ext._live._hyperparameter import Hyperparameter
from keras_ext._live.places._attention import of_attention
from keras_ext._live.places._batch_normalization import of_batch_normalization
from keras_ext._live.places._cells import of_cell
from keras_ext._live.places._dropout import of_dropout
from keras_ext._live.places._losses import of_losses
from keras_ext._live.places._optimizer import of_optimizer
from keras_ext._live.places._regularizers import of_regularizers

_OF_LAYERS = (of_dropout, of_batch_normalization, of_cell, of_attention)


def find_hyperparameters(model: keras.Model) -> Iterator[Hyperparameter]:
    """Yields the numbers of a model that can be made live, each with its own path."""
    taken: dict[str, None] = {}
    for found in _all(model):
        path = unique_path(found.path, taken)
        taken[path] = None
        yield replace(found, path=path)


def _all(model: keras.Model) -> Iterator[Hyperparameter]:
    paths = layer_paths(model)
    inside = {id(inner) for layer in paths for inner in _dropouts_inside(layer)}
    regularizers: set[int] = set()
    for layer, path in paths.items():
        if id(layer) not in inside:
            for of_layer in _OF_LAYERS:
                yield from of_layer(layer, path)
            yield from of_regularizers(layer, path, regularizers)
    yield from of_optimizer(model)
    yield from of_losses(model)


def _dropouts_inside(layer: Layer) -> Iterator[keras.layers.Dropout]:
    """Those of an attention layer, which keeps their rate itself."""
    if is_attention(layer):
        for inner in sublayers(layer)[1:]:
            if isinstance(inner, keras.layers.Dropout):
                yield inner
