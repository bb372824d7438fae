"""Batch normalization of Keras."""

from collections.abc import Iterator

from keras import layers

from keras_ext._core._typing import Layer
from keras_ext._live._hyperparameter import FRACTION, Hyperparameter, attribute


def of_batch_normalization(layer: Layer, path: str) -> Iterator[Hyperparameter]:
    """The momentum of the moving statistics."""
    if isinstance(layer, layers.BatchNormalization):
        yield attribute(layer, "momentum", path, FRACTION)
        if getattr(layer, "renorm", False):
            yield attribute(layer, "renorm_momentum", path, FRACTION)
