"""Regularizers of Keras."""

from collections.abc import Iterator

import keras

from keras_ext._core._paths import joined
from keras_ext._core._typing import Layer
from keras_ext._live._hyper_variable import HyperVariable
from keras_ext._live._hyperparameter import STRENGTH, Hyperparameter, attribute

_STRENGTHS = ("l1", "l2", "factor")


def of_regularizers(
    layer: Layer, path: str, seen: set[int]
) -> Iterator[Hyperparameter]:
    """The strengths of those of a layer that are not in `seen`, which takes them up."""
    for name, regularizer in vars(layer).items():
        # Some are kept under a private name, with a public property.
        if isinstance(regularizer, keras.Regularizer) and id(regularizer) not in seen:
            seen.add(id(regularizer))
            for strength in _STRENGTHS:
                # What is live by itself needs no help.
                value = vars(regularizer).get(strength)
                if value is not None and not isinstance(value, HyperVariable):
                    where = joined(path, name.lstrip("_"))
                    yield attribute(regularizer, strength, where, STRENGTH)
