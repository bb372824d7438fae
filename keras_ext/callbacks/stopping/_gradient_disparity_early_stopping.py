"""Stops when the gradients of different batches drift apart."""

import itertools
import math
from typing import ClassVar

import keras
import tensorflow as tf
from keras import ops

from keras_ext._anatomy._trial import called, trace_early
from keras_ext._core._checks import integer, require
from keras_ext._core._typing import Data, Logs, Record, Tensor
from keras_ext.callbacks.regularization._data_of_fit import given_rows, rows_to_train_on
from keras_ext.callbacks.stopping._stopping_callback import StoppingCallback


class GradientDisparityEarlyStopping(StoppingCallback):
    """Stops training when the gradients of different training batches drift apart.

    It needs no validation data. The gradient disparity is the distance between the
    gradients of two batches at the same weights. It bounds what a step on one batch
    costs the other, and rises when a model begins to fit the particulars of each batch.
    At the end of each epoch it is measured on the first `batches` batches of
    `train_data`, always the same ones, and averaged over all pairs. The loss of each
    batch is divided by the standard deviation of the losses in it, so that the distance
    does not shrink merely because the losses do.

    The gradients are taken in inference mode, without dropout and without touching the
    statistics of batch normalization, and without penalties of regularizers. The loss
    of the model has to be a single one that is a mean over rows.

    Logs `gradient_disparity`.

    Args:
        train_data: `(x, y)` or `(x, y, sample_weight)` of arrays, or a dataset that
            yields batches of these. The weights are not used. Of arrays, the rows are
            spread evenly over the data. None means rows of `fit`, of a dataset the
            first batches.
        batches: Integer >= 2, how many batches are compared. Defaults to `5`.
        batch_size: Integer >= 2, their size if the data are arrays. Defaults to `32`.
        patience: Integer >= 1; for how many epochs in a row the disparity has to rise.
            Defaults to `5`.
        start_from_epoch: Integer >= 0; the epochs before this one, counted from 0 as
            `fit` does, are logged and decide nothing, as in Keras's `EarlyStopping`.
            Defaults to `0`.
        restore_best_weights: Whether to return, at the stop, to the weights of the
            epoch before the first rise. Defaults to `False`.
        verbose: `1` to print a line when training is stopped, `0` to be silent.
            Defaults to `1`.

    Attributes:
        stopped_epoch: The epoch that was the last one, counted from 0; None if training
            was not stopped.
        stopped_by: A sentence that says why training was stopped, or None.

    Raises:
        ValueError: If an argument is out of range, or, at the end of the first epoch,
            if there are fewer than two batches or the loss is not of this kind.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> x, y = np.random.default_rng(0).normal(size=(2, 160, 8))
        >>> layers = [keras.Input((8,)), keras.layers.Dense(64, "relu")]
        >>> model = keras.Sequential([*layers, keras.layers.Dense(8)])
        >>> model.compile(keras.optimizers.Adam(0.01), "mse")
        >>> stop = kx.callbacks.GradientDisparityEarlyStopping((x, y), patience=3)
        >>> history = model.fit(x, y, epochs=99, callbacks=[stop], verbose=0)
        Epoch ...: early stopping by GradientDisparityEarlyStopping: ...
        >>> len(history.epoch) < 99  # nothing to learn here but noise
        True

    References:
        - [Forouzesh and Thiran, 2021](https://arxiv.org/abs/2107.06665)
    """

    criterion = "gradient_disparity"
    remembered: ClassVar[tuple[str, ...]] = ("_previous", "_rises")

    def __init__(
        self,
        train_data: Data = None,
        *,
        batches: int = 5,
        batch_size: int = 32,
        patience: int = 5,
        start_from_epoch: int = 0,
        restore_best_weights: bool = False,
        verbose: int = 1,
    ) -> None:
        super().__init__(
            patience=patience,
            start_from_epoch=start_from_epoch,
            restore_best_weights=restore_best_weights,
            verbose=verbose,
        )
        self.batches = integer(batches, "batches", low=2)
        self.batch_size = integer(batch_size, "batch_size", low=2)
        self._rows = self.batches * self.batch_size
        self._given = given_rows(train_data, self._rows, self.batch_size)

    def reset(self) -> None:
        super().reset()
        self._gradient = tf.function(
            self._gradient_of, autograph=False, reduce_retracing=True
        )
        self._previous = math.inf
        self._rises = False

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        self._data = rows_to_train_on(
            self.model, self._given, self._rows, self.batch_size
        )
        x, y, _ = next(iter(self._data))
        trace_early(self._gradient, (x, y), "train_data", "the gradients")

    def _gradient_of(self, x: Data, y: Data) -> Tensor:
        """The gradient of one batch, as a vector in float32."""
        with tf.GradientTape() as tape:
            losses = ops.cast(row_losses(self.model, x, y), "float32")
            # `ops.std` divides by n, and the deviation of a sample by n - 1.
            spread = ops.std(losses) * ops.sqrt(_bessel(ops.size(losses)))
            mean = ops.mean(losses)
            # Without a spread there is nothing to divide by.
            scaled = ops.where(
                spread > 0, mean / ops.where(spread > 0, spread, 1), mean
            )
        variables = [v.value for v in self.model.trainable_variables]
        gradients = tape.gradient(scaled, variables, unconnected_gradients="zero")
        flat = [ops.reshape(tf.convert_to_tensor(g), (-1,)) for g in gradients]
        return ops.concatenate([ops.cast(g, "float32") for g in flat])

    def measure(self, epoch: int, logs: Record) -> float:
        chosen = itertools.islice(self._data, self.batches)
        gradients = [self._gradient(x, y) for x, y, _ in chosen]
        require(
            len(gradients) >= 2, "train_data", f"{len(gradients)} batch", "two batches"
        )
        distances = [
            float(ops.norm(a - b)) for a, b in itertools.combinations(gradients, 2)
        ]
        return sum(distances) / len(distances)

    def verdict(self, value: float) -> str | None:
        self._rises = value > self._previous
        self._previous = value
        return f"gradient disparity has risen to {value:.3g}" if self._rises else None

    def is_best(self, value: float | None) -> bool:
        return value is not None and not self._rises


def row_losses(model: keras.Model, x: Data, y: Data) -> Tensor:
    """The losses of the rows of a batch, not reduced, in inference mode."""
    single = model.loss is not None and not isinstance(model.loss, list | tuple | dict)
    hint = "The losses of the rows are needed, and there is no one loss to take."
    require(single, "model.loss", model.loss, "one loss of one output", hint)
    loss = keras.losses.get(model.loss)
    predictions = called(model, x, training=False)
    losses = (loss.call if isinstance(loss, keras.Loss) else loss)(y, predictions)
    axes = tuple(range(1, len(losses.shape)))
    return ops.mean(losses, axis=axes) if axes else losses


def _bessel(count: Tensor) -> Tensor:
    count = ops.cast(count, "float32")
    return count / ops.maximum(count - 1.0, 1.0)
