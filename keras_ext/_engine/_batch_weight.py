"""How much a batch counts among others, which an optimizer is not told."""

import inspect
import threading

import keras
import tensorflow as tf

from keras_ext._anatomy._batch_length import batch_length
from keras_ext._core._typing import Data, Function, Record, Tensor
from keras_ext._fit._fit_scope import FitScope
from keras_ext._keras import _replica
from keras_ext._keras._masks import mask_of


class BatchWeight:
    """Weighs the loss of each micro-batch by what its mean was divided by.

    So several give the gradient of one large batch: a mean over samples counts by
    their number, one over the steps that a mask leaves by theirs, one by sample weights
    (`reduction="mean_with_sample_weight"`) by their sum, and sums (`reduction="sum"`)
    are added, with the penalties of the first alone, unless the model has a
    `compute_loss` of its own, which may do anything with them. With several outputs,
    each micro-batch counts by its samples.

    It notes what `train_step` and `compute_loss` are given, and multiplies the loss
    when the step asks the optimizer to scale it, as that of Keras does: the loss, and
    not the gradient, which would be another pass over it.

    Args:
        scope: The scope of the `fit`.
        unit: The number of samples that has a weight of 1, on one replica. Any number
            gives the same; the usual one loses no precision.
    """

    def __init__(self, scope: FitScope, unit: int) -> None:
        self._model = scope.model
        self._unit = unit
        self._reduction = _reduction_of(scope.model)
        # Of a `compute_loss` of somebody's own nobody knows what it does with them.
        own = type(scope.model).compute_loss
        self._adds_penalties = own is keras.Model.compute_loss
        # Every replica has a thread: what is noted while one is traced is its own.
        self._batch = threading.local()
        # Outermost, to count what `fit` delivers.
        scope.link("train_step", self._noting_samples, outermost=True)
        scope.link("compute_loss", self._noting_outputs, outermost=True)

    def _noting_samples(self, step: Function) -> Function:
        def train_step(data: Data, *args: object, **kwargs: object) -> Record:
            self._batch.divisor = batch_length(data)
            return step(data, *args, **kwargs)

        return train_step

    def _noting_outputs(self, compute: Function) -> Function:
        # Of the class: what replaces it may take anything.
        signature = inspect.signature(type(self._model).compute_loss)

        def compute_loss(*args: object, **kwargs: object) -> Tensor:
            given = signature.bind(self._model, *args, **kwargs).arguments
            mask = mask_of(given.get("y_pred"))
            divisor = self._divisor(mask, given.get("sample_weight"))
            if divisor is not None:
                self._batch.divisor = divisor
            loss = compute(*args, **kwargs)
            if self._adds_penalties:
                self._batch.penalties = list(self._model.losses)
            return loss

        return compute_loss

    def _divisor(self, mask: Tensor | None, sample_weight: Data) -> Tensor | None:
        """What the mean is divided by; None for the number of samples."""
        weights = [w for w in keras.tree.flatten(sample_weight) if w is not None]
        if self._reduction == "mean_with_sample_weight" and len(weights) == 1:
            weight = tf.cast(weights[0], "float32")
            if mask is None:
                return tf.reduce_sum(weight)
            kept = tf.cast(mask, "float32")
            missing = [1] * (len(kept.shape) - len(weight.shape))
            weight = tf.reshape(weight, tf.concat([tf.shape(weight), missing], 0))
            return tf.reduce_sum(weight * kept)
        if mask is not None and self._reduction is not None:
            return tf.math.count_nonzero(mask, dtype="float32")
        return None

    def weigh(self, loss: Tensor, is_alone: Tensor, is_first: Tensor) -> Tensor:
        """Returns the loss times the weight of its batch, on a replica.

        Args:
            loss: The loss.
            is_alone: Whether the batch is alone in its update, and so has no weight.
            is_first: Whether it is the first one of its update.
        """
        noted = vars(self._batch)
        divisor, penalties = noted.pop("divisor", None), noted.pop("penalties", [])
        if divisor is None:
            return loss
        if self._reduction == "sum":
            # The sum of the losses, divided by 1 in all; penalties count once.
            self._batch.weight = tf.ones(()), tf.where(is_first, 1.0, 0.0)
            shares = [
                tf.reduce_sum(tf.cast(x, loss.dtype)) / _replica.num_replicas()
                for x in penalties
            ]
            again = tf.where(is_first, tf.zeros((), loss.dtype), 1)
            return loss - again * tf.add_n(shares) if shares else loss
        weight = tf.where(is_alone, 1.0, tf.cast(divisor, "float32") / self._unit)
        self._batch.weight = weight, weight
        return loss * tf.cast(weight, loss.dtype)

    def weight(self) -> tuple[Tensor, Tensor]:
        """Returns by what the loss was multiplied, and what to divide the sum by.

        That is the sum of the second numbers of its micro-batches.
        """
        weight = vars(self._batch).pop("weight", None)
        return (tf.ones(()), tf.ones(())) if weight is None else weight


def _reduction_of(model: keras.Model) -> str | None:
    """How the only loss of a model reduces; None with several, or another way."""
    losses = [x for x in keras.tree.flatten(model.loss) if x is not None]
    if len(losses) != 1:
        return None
    found = getattr(losses[0], "reduction", "sum_over_batch_size")
    return {"mean": "sum_over_batch_size"}.get(found, found)
