"""How far the masks of one dropout layer move the prediction."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_ext._anatomy._fixed_data import FixedData
from keras_ext._anatomy._linked_method import Link, linked_calls
from keras_ext._core._typing import Tensor
from keras_ext._live._dropout_kernel import live_dropout
from keras_ext._live.places._dropout import noise_shape

# At this rate each of the layers is tried, whatever its own is.
_RATE = 0.5


class MaskVariance:
    """Measures the variance of the prediction while a single layer drops.

    All layers are tried at the rate 0.5, one after the other, and with the same masks
    each time; everything else runs in inference mode. The variance over the masks is
    averaged over the rows and outputs. One graph is traced for all of them.

    Args:
        model: The model.
        dropouts: Its dropout layers.
        data: The data to predict.
        samples: Integer >= 2, how many masks to draw for each row.
    """

    def __init__(
        self,
        model: keras.Model,
        dropouts: Sequence[keras.Layer],
        data: FixedData,
        samples: int = 8,
    ) -> None:
        self._model = model
        self._dropouts = list(dropouts)
        self._data = data
        self._samples = samples
        self._seeds = keras.random.SeedGenerator(0)
        self._first_state = ops.convert_to_numpy(self._seeds.state)
        self._variance = tf.function(
            self._variance_of, autograph=False, reduce_retracing=True
        )

    def measure(self) -> list[float]:
        """Returns the variance for each of the layers."""
        return [self._mean_variance(one) for one in np.eye(len(self._dropouts))]

    def _mean_variance(self, which: np.ndarray) -> float:
        self._seeds.state.assign(self._first_state)
        rates = tf.constant(_RATE * which, "float32")
        total, count = 0.0, 0
        for x, _, _ in self._data:
            rows = int(ops.shape(keras.tree.flatten(x)[0])[0])
            total += rows * float(self._variance(x, rates))
            count += rows
        return total / count

    def _variance_of(self, x: Any, rates: Tensor) -> Tensor:
        def predict() -> Tensor:
            with self._dropping(ops.unstack(rates)):
                outputs = keras.tree.flatten(self._model(x, training=False))
            flat = [ops.reshape(o, (ops.shape(o)[0], -1)) for o in outputs]
            return ops.concatenate([ops.cast(o, "float32") for o in flat], axis=1)

        def add(i: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            # Welford's way, since the mean of the squares may hide the variance.
            mean, squares = state
            drawn = predict()
            change = drawn - mean
            mean = mean + change / ops.cast(i + 1, "float32")
            return mean, squares + change * (drawn - mean)

        first = predict()
        start = (first, ops.zeros_like(first))
        _, squares = ops.fori_loop(1, self._samples, add, start)
        return ops.mean(squares) / (self._samples - 1)

    def _dropping(self, rates: Sequence[Tensor]) -> AbstractContextManager[None]:
        """Makes the layers drop at these rates in inference mode."""
        rate_of = dict(zip(self._dropouts, rates, strict=True))
        return linked_calls(rate_of, lambda layer: self._link(layer, rate_of[layer]))

    def _link(self, layer: Any, rate: Tensor) -> Link:
        def call(inputs: Tensor, training: bool = False) -> Tensor:
            return live_dropout(inputs, rate, noise_shape(layer, inputs), self._seeds)

        return lambda _: call
