"""Weights of samples from weights of classes, as `fit` makes them of arrays."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from keras_ext._core._checks import is_integer, is_number, require
from keras_ext._core._typing import Data, Tensor


def require_class_weight(class_weight: Data, spec: Any) -> None:
    """Raises unless samples of this form can be weighted by classes.

    Args:
        class_weight: What `fit` was given.
        spec: The `element_spec` of the data.

    Raises:
        ValueError: If they cannot.
    """
    name = "class_weight"
    valid = isinstance(class_weight, Mapping) and len(class_weight) > 0
    valid = valid and all(is_integer(key) and key >= 0 for key in class_weight)
    valid = valid and all(map(is_number, class_weight.values()))
    require(valid, name, class_weight, "a dictionary of numbers, by number of class")
    parts = len(spec) if isinstance(spec, tuple) else 1
    hint = "The weights of classes are taken from the targets."
    require(parts > 1, name, class_weight, "None without targets", hint)
    hint = "Multiply the weights of the samples by those of their classes."
    without = parts < 3 or spec[2] is None
    require(without, name, class_weight, "None with weights of samples", hint)
    single = not keras.tree.is_nested(spec[1])
    require(single, name, class_weight, "None with several targets")


def class_weighted(
    batches: tf.data.Dataset, class_weight: Mapping[int, float]
) -> tf.data.Dataset:
    """Adds the weights to batches of `(x, y)`; classes without one weigh 1."""
    classes = tf.constant(sorted(class_weight), tf.int64)
    values = [float(class_weight[key]) for key in sorted(class_weight)]
    weights = tf.constant(values, keras.config.floatx())

    def weighted(x: Data, y: Tensor, none: None = None) -> tuple[Data, Tensor, Tensor]:
        found = _classes(y)
        place = tf.searchsorted(classes, tf.reshape(found, (-1,)))
        place = tf.reshape(place, tf.shape(found))
        # Above the last class, `searchsorted` gives the place behind it.
        place = tf.minimum(place, len(values) - 1)
        is_listed = tf.equal(tf.gather(classes, place), found)
        one = tf.ones((), weights.dtype)
        return x, y, tf.where(is_listed, tf.gather(weights, place), one)

    return batches.map(weighted)


def _classes(y: Tensor) -> Tensor:
    """The numbers of classes, which may be one-hot, or have an axis of length 1."""
    if y.shape.rank > 1:
        y = tf.cond(
            tf.shape(y)[-1] > 1,
            lambda: tf.argmax(y, axis=-1),
            lambda: _whole(y[..., 0]),
        )
    return _whole(y)


def _whole(y: Tensor) -> Tensor:
    # Keras rounds, too.
    return tf.cast(tf.round(y) if y.dtype.is_floating else y, tf.int64)
