"""Losses of labels that are drawn as a model predicts them."""

from typing import Any

import keras
import tensorflow as tf

from keras_ext._core._checks import require
from keras_ext._core._typing import Data, Function, Tensor
from keras_ext._keras import _replica

_LOSSES = keras.losses
# From what draws labels to the losses, as classes and as functions.
_KINDS = {
    "sparse": (
        _LOSSES.SparseCategoricalCrossentropy,
        _LOSSES.sparse_categorical_crossentropy,
    ),
    "categorical": (
        _LOSSES.CategoricalCrossentropy,
        _LOSSES.categorical_crossentropy,
    ),
    "binary": (_LOSSES.BinaryCrossentropy, _LOSSES.binary_crossentropy),
    "squared": (_LOSSES.MeanSquaredError, _LOSSES.mean_squared_error),
}
_MEANS = (None, "sum_over_batch_size", "mean", "mean_with_sample_weight")
# With other arguments, the square of a gradient is no second derivative.
_AS_USUAL = {"label_smoothing": 0.0, "ignore_class": None, "axis": -1}
_TINY = 1e-7


class DrawnLoss:
    """The loss of labels drawn from what a model predicts, given its own.

    Args:
        loss: What `compile` was given.

    Raises:
        ValueError: If it is not the mean of a loss that stands for a distribution.
    """

    def __init__(self, loss: Any) -> None:
        known = loss
        if isinstance(loss, str):
            known = keras.losses.get(loss)
        found = [
            kind
            for kind, (cls, function) in _KINDS.items()
            if type(known) is cls or known is function
        ]
        mean = getattr(known, "reduction", None) in _MEANS
        require(
            bool(found) and mean,
            "model.loss",
            loss,
            "the mean of a crossentropy or squared error, for a single output",
            hint='Take estimator="hutchinson", for any loss.',
        )
        (self._kind,) = found
        for name, usual in _AS_USUAL.items():
            given = getattr(known, name, usual)
            hint = 'Labels are drawn without. Or take estimator="hutchinson".'
            require(given == usual, f"model.loss.{name}", given, f"{usual}", hint)
        self._from_logits = bool(getattr(known, "from_logits", False))
        self._entries = known.call if isinstance(known, keras.Loss) else known

    def count(self, y_pred: Tensor) -> Tensor:
        """Of how many entries the loss is the mean, on this replica."""
        return tf.cast(tf.size(y_pred) // self._size(y_pred), tf.float32)

    def _size(self, y_pred: Tensor) -> int:
        return int(y_pred.shape[-1])

    def total(
        self, y: Data, y_pred: Tensor, sample_weight: Data, seed: Tensor
    ) -> Tensor:
        """The sum of the losses on this replica, for labels that are drawn.

        Args:
            y: The labels that there are, for their shape.
            y_pred: The predictions.
            sample_weight: The weights of samples, or None. They enter by their roots,
                so that squares of gradients have the weights.
            seed: Two integers, the same on all replicas.
        """
        y_pred = tf.cast(y_pred, tf.float32)
        drawn = self._draw(tf.stop_gradient(y_pred), seed)
        if self._kind == "sparse":
            drawn = tf.reshape(drawn, tf.shape(y))
        losses = self._entries(drawn, y_pred)
        if sample_weight is not None:
            # The gradient is squared afterwards: so each square counts by its weight.
            losses *= _like(tf.sqrt(tf.cast(sample_weight, losses.dtype)), losses)
        total = tf.reduce_sum(losses)
        if self._kind in ("binary", "squared"):
            # These are means over the last axis, of what is drawn independently.
            total *= float(self._size(y_pred)) ** 0.5
        return total

    def _draw(self, y_pred: Tensor, seed: Tensor) -> Tensor:
        if self._kind == "squared":
            # Of the distribution whose logarithm is the squared error.
            return y_pred + 0.5**0.5 * _random(tf.random.stateless_normal, y_pred, seed)
        uniform = _random(tf.random.stateless_uniform, y_pred, seed)
        if self._kind == "binary":
            p = tf.sigmoid(y_pred) if self._from_logits else y_pred
            return tf.cast(uniform < p, y_pred.dtype)
        logits = y_pred if self._from_logits else tf.math.log(y_pred + _TINY)
        # The largest of logits and Gumbel noise is drawn as the softmax says.
        gumbel = -tf.math.log(-tf.math.log(uniform + _TINY) + _TINY)
        labels = tf.argmax(logits + gumbel, axis=-1)
        if self._kind == "sparse":
            return labels
        return tf.one_hot(labels, self._size(y_pred))


def _random(draw: Function, like: Tensor, seed: Tensor) -> Tensor:
    """Random numbers for the rows of this replica, the same ones for any number."""
    shape, replicas = tf.shape(like), _replica.num_replicas()
    rows = shape[0]
    drawn = draw(tf.concat([[replicas * rows], shape[1:]], 0), seed)
    begin = _replica.replica_number() * rows
    return tf.reshape(drawn[begin : begin + rows], shape)


def _like(weights: Tensor, losses: Tensor) -> Tensor:
    """Weights of samples with the axes of the losses, or with 1 for them."""
    if len(weights.shape) > len(losses.shape):
        return tf.squeeze(weights, axis=-1)
    missing = len(losses.shape) - len(weights.shape)
    return tf.reshape(weights, tf.concat([tf.shape(weights), [1] * missing], 0))
