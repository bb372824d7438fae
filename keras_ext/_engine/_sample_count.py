"""How many samples the present batch has, which an optimizer is not told."""

import threading
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_ext._core._typing import Tensor
from keras_ext._fit._fit_scope import FitScope


class SampleCount:
    """Weighs the loss of each micro-batch by its number of samples.

    It notes what `train_step` is given, and multiplies the loss when the step asks the
    optimizer to scale it, as that of Keras does: the loss, and not the gradient, which
    would be another pass over it.

    Args:
        scope: The scope of the `fit`.
        unit: The number of samples that has a weight of 1, on one replica. Any number
            gives the same; the usual one loses no precision.
    """

    def __init__(self, scope: FitScope, unit: int) -> None:
        self._unit = unit
        # Every replica has a thread: what is noted while one is traced is its own.
        self._batch = threading.local()
        # Outermost, to count what `fit` delivers.
        scope.link("train_step", self._noting, outermost=True)

    def _noting(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def train_step(data: Any, *args: Any, **kwargs: Any) -> Any:
            x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
            inputs = [leaf for leaf in keras.tree.flatten(x) if leaf is not None]
            self._batch.samples = tf.shape(inputs[0])[0] if inputs else None
            return step(data, *args, **kwargs)

        return train_step

    def weigh(self, loss: Tensor, is_alone: Tensor) -> Tensor:
        """Returns the loss times the weight of its batch, on a replica.

        Args:
            loss: The loss.
            is_alone: Whether the batch is alone in its update, and so has no weight.
        """
        samples = vars(self._batch).pop("samples", None)
        if samples is None:
            return loss
        weight = tf.where(is_alone, 1.0, tf.cast(samples, "float32") / self._unit)
        self._batch.weight = weight
        return loss * tf.cast(weight, loss.dtype)

    def weight(self) -> Tensor:
        """Returns by what the loss was multiplied, once for each batch."""
        weight = vars(self._batch).pop("weight", None)
        return tf.ones(()) if weight is None else weight
