"""How far training and validation data pull the weights in different directions."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_ext._anatomy._fixed_data import FixedData
from keras_ext._anatomy._kept_values import kept_values
from keras_ext._core._typing import Tensor, Variable


class GradientDisagreement:
    """Measures `1 - cosine` of the gradients of training and validation loss.

    It is near 0 for weights that learn what holds for both, 1 where the gradients have
    nothing to do with each other, and up to 2 for weights that learn what is true of
    the training data only. The losses are measured in inference mode and without
    penalties of regularizers, which are the same for both.

    Args:
        model: The model.
        groups: Weights that belong together.
        training: Training data.
        validation: Data that is not trained on.
    """

    def __init__(
        self,
        model: keras.Model,
        groups: Sequence[Sequence[Variable]],
        training: FixedData,
        validation: FixedData,
    ) -> None:
        self._model = model
        self._groups = [[v.value for v in group] for group in groups]
        self._data = (training, validation)
        self._gradient = tf.function(
            self._gradient_of, autograph=False, reduce_retracing=True
        )

    def measure(self) -> list[float]:
        """Returns one number for each group; 1 where there is no gradient."""
        # The loss of a model with many outputs counts itself into its metrics.
        with kept_values(self._model.metrics_variables):
            sides = [self._mean_gradient(data) for data in self._data]
        return [1.0 - _cosine(a, b) for a, b in zip(*sides, strict=True)]

    def _mean_gradient(self, data: FixedData) -> list[Tensor]:
        """The sum, to be exact, over rows: a cosine is the same."""
        total = [tf.zeros(()) for _ in self._groups]
        for x, y, weight in data:
            rows = keras.ops.shape(keras.tree.flatten(x)[0])[0]
            gradients = self._gradient(x, y, weight)
            total = [a + float(rows) * b for a, b in zip(total, gradients, strict=True)]
        return total

    def _gradient_of(self, x: Any, y: Any, sample_weight: Any) -> list[Tensor]:
        """The gradients with respect to the groups, each as one vector."""
        model = self._model
        with tf.GradientTape() as tape:
            outputs = model(x, training=False)
            loss = model.compute_loss(x, y, outputs, sample_weight, training=False)
            penalties = [tf.cast(p, "float32") for p in model.losses]
            loss = tf.cast(loss, "float32") - sum(penalties, tf.zeros(()))
        gradients = tape.gradient(loss, self._groups, unconnected_gradients="zero")
        return [
            tf.concat([[0.0], *(_flat(g) for g in group)], axis=0)
            for group in gradients
        ]


def _flat(gradient: Tensor) -> Tensor:
    return tf.reshape(tf.cast(tf.convert_to_tensor(gradient), "float32"), (-1,))


def _cosine(a: Tensor, b: Tensor) -> float:
    product = float(tf.norm(a)) * float(tf.norm(b))
    if not np.isfinite(product) or product == 0.0:
        return 0.0
    return float(np.clip(float(tf.reduce_sum(a * b)) / product, -1.0, 1.0))
