"""Whole numbers that a model computes with, as real ones that have a gradient."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

import keras
import tensorflow as tf
from keras import layers

from keras_ext._anatomy._linked_method import Link, linked_calls
from keras_ext._core._typing import Data, Tensor
from keras_ext.explain._calls._kinds import (
    ELEMENTWISE_LAYERS,
    ELEMENTWISE_OPERATIONS,
    LINEAR_LAYERS,
    LINEAR_OPERATIONS,
    MAX_LAYERS,
    SCALING_OPERATIONS,
)

# What Keras does to what it gives to a layer.
_PASSING = {"Cast", "Identity"}
_LAYERS = (*LINEAR_LAYERS, *MAX_LAYERS, *ELEMENTWISE_LAYERS, layers.Multiply)
_OPERATIONS = (*LINEAR_OPERATIONS, *ELEMENTWISE_OPERATIONS, *SCALING_OPERATIONS)


def is_whole(dtype: tf.DType) -> bool:
    """Whether this is a dtype of whole numbers, or of True and False."""
    return tf.as_dtype(dtype).is_integer or tf.as_dtype(dtype).is_bool


def computes(operation: keras.Operation) -> bool:
    """Whether this gives the same for whole numbers and for real ones."""
    if isinstance(operation, keras.Layer):
        return isinstance(operation, _LAYERS)
    return type(operation).__name__ in _OPERATIONS


def widened(
    operations: Sequence[keras.Operation], reals: Mapping[int, Tensor]
) -> AbstractContextManager[None]:
    """Lets operations that compute take real numbers in place of whole ones.

    Args:
        operations: The layers and operations of a model.
        reals: The real numbers, by the `id` of the tensors that they stand for.
    """

    def link(operation: keras.Operation) -> Link:
        def replace(x: Data) -> Data:
            own = x
            while tf.is_tensor(own) and id(own) not in reals:
                source = getattr(own, "op", None)  # eager tensors have none
                if source is None or source.type not in _PASSING:
                    return x
                own = source.inputs[0]
            return reals.get(id(own), x)

        return lambda call: (
            lambda *args, **kwargs: call(
                *keras.tree.map_structure(replace, args),
                **keras.tree.map_structure(replace, kwargs),
            )
        )

    return linked_calls(filter(computes, operations), link)
