"""Sparse gradients, those of embeddings: a few rows of a weight, and which they are."""

from collections.abc import Callable

import tensorflow as tf

from keras_ext._core._typing import Tensor


def is_sparse(gradient: Tensor) -> bool:
    """Whether a gradient has some rows of its weight only."""
    return isinstance(gradient, tf.IndexedSlices)


def dense(gradient: Tensor) -> Tensor:
    """A gradient as an ordinary tensor.

    Of a word that comes twice in a batch a sparse one has two rows. Their sum is the
    gradient; but Keras's Adam, for one, squares the rows before it sums them.
    """
    return tf.convert_to_tensor(gradient)


def summed(gradient: tf.IndexedSlices) -> tf.IndexedSlices:
    """A sparse gradient with the sum of its rows in place of those of one index.

    The number of rows stays, so that XLA knows it: what is left over are zeros, for the
    first row of the weight.
    """
    order = tf.argsort(gradient.indices)
    indices = tf.gather(gradient.indices, order)
    is_new = tf.cast(indices[1:] != indices[:-1], tf.int32)
    place = tf.concat([tf.zeros_like(indices[:1], tf.int32), tf.cumsum(is_new)], 0)
    count = tf.size(indices)
    rows = tf.math.unsorted_segment_sum(
        tf.gather(gradient.values, order), place, num_segments=count
    )
    # The largest of no index is the smallest number there is.
    of_rows = tf.math.unsorted_segment_max(indices, place, num_segments=count)
    return tf.IndexedSlices(rows, tf.maximum(of_rows, 0), gradient.dense_shape)


def in_rows(function: Callable[[Tensor], Tensor], gradient: Tensor) -> Tensor:
    """What a function that keeps zeros makes of a gradient, which stays sparse."""
    if not is_sparse(gradient):
        return function(gradient)
    return tf.IndexedSlices(
        function(gradient.values), gradient.indices, gradient.dense_shape
    )


def elements(gradient: Tensor) -> Tensor:
    """All the elements of a gradient that may not be zero."""
    return gradient.values if is_sparse(gradient) else gradient
