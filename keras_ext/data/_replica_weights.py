"""Weights that make up for replicas with fewer samples of a batch than others."""

import keras
import tensorflow as tf

from keras_ext._core._typing import Data, Tensor


def weighted_for_replicas(batches: tf.data.Dataset, replicas: int) -> tf.data.Dataset:
    """Weighs the samples of batches so that the mean of means is the mean of all.

    Where a batch is not divisible, Keras takes the mean of the means of the parts, and
    the samples of the smaller parts would count for more. A replica that would have no
    sample gets one of weight 0.

    Args:
        batches: A dataset of batches of `(x, y)` or `(x, y, sample_weight)`; others are
            returned as they are, since there is nothing to weigh.
        replicas: Among how many replicas the batches will be divided.

    Returns:
        A dataset of batches of `(x, y, sample_weight)`.
    """
    spec = batches.element_spec
    if not isinstance(spec, tuple) or len(spec) < 2:
        return batches

    def weighted(x: Data, y: Data, sample_weight: Data = None) -> Data:
        first = next(a for a in tf.nest.flatten(x) if a is not None)
        count = tf.shape(first)[0]
        # Of an empty batch there is nothing to fill up with.
        rows = tf.where(count > 0, tf.maximum(count, replicas), 0)
        x, y, sample_weight = keras.tree.map_structure(
            lambda a: tf.gather(a, tf.minimum(tf.range(rows), count - 1)),
            (x, y, sample_weight),
            none_is_leaf=False,
        )
        shares = _shares(rows, count, replicas)

        def scaled(weight: Tensor) -> Tensor:
            shape = tf.concat([[rows], tf.ones_like(tf.shape(weight)[1:])], 0)
            return weight * tf.cast(tf.reshape(shares, shape), weight.dtype)

        if sample_weight is None:
            is_wide = keras.config.floatx() == "float64"
            return x, y, tf.cast(shares, "float64" if is_wide else "float32")
        return x, y, keras.tree.map_structure(scaled, sample_weight)

    return batches.map(weighted, num_parallel_calls=tf.data.AUTOTUNE)


def _shares(rows: Tensor, count: Tensor, replicas: int) -> Tensor:
    """The weight of each sample; exactly 1 where they are divided evenly."""
    # As `split_for_replicas` cuts.
    ends = rows * tf.range(replicas + 1) // replicas
    sizes = ends[1:] - ends[:-1]
    # The product first: 41 * (1 / 41) is not 1.
    shares = tf.cast(tf.repeat(sizes * replicas, sizes), tf.float64)
    shares = shares / tf.cast(tf.maximum(count, 1), tf.float64)
    return tf.where(tf.range(rows) < count, shares, tf.zeros_like(shares))
