"""Stops when the predictions on the training data begin to waver again."""

import math
from collections import deque
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from keras_ext._anatomy._trial import called, trace_early
from keras_ext._core._checks import integer, number
from keras_ext._core._typing import Data, Logs, Record, Tensor
from keras_ext.callbacks.regularization._data_of_fit import given_rows, rows_to_train_on
from keras_ext.callbacks.stopping._stopping_callback import StoppingCallback


class LabelWaveEarlyStopping(StoppingCallback):
    """Stops a classifier before it fits wrong labels, without validation data.

    At the end of each epoch it classifies the training data in inference mode and
    counts the rows whose class has changed since the epoch before. While a model learns
    what the data have in common, the predictions settle; when it begins to fit wrong
    labels, they waver again. Training stops at the first minimum of the moving average
    of this count. Use it for data with many wrong labels; with clean labels there may
    be no minimum, or a meaningless one.

    The paper counts the predictions made during the training steps, with dropout on.
    Here all predictions use the weights at the end of the epoch, which costs a forward
    pass over `train_data`.

    Logs `label_changes`, the moving average of the share of rows; NaN at first.

    Args:
        train_data: `(x, y)` or `(x, y, sample_weight)` of arrays, or a dataset that
            yields batches of these, always in the same order. Only `x` is used. None
            means rows of `fit`: of arrays 2,048 evenly spaced, of a dataset the first
            ones, as many or a batch more.
        window: Integer >= 1, how many epochs are averaged. Defaults to `3`.
        patience: Integer >= 1; for how many epochs in a row the average has to be
            above its minimum. Defaults to `1`.
        start_from_epoch: Integer >= 0; the epochs before this one, counted from 0 as
            `fit` does, are logged and decide nothing, as in Keras's `EarlyStopping`.
            Defaults to `0`.
        restore_best_weights: Whether to return, at the stop, to the weights of the
            epoch with the minimum. Defaults to `False`.
        verbose: `1` to print a line when training is stopped, `0` to be silent.
            Defaults to `1`.
        max_rows: Integer >= 1; rows of the arrays to use, evenly spaced. None
            means all that are given as `train_data`.
        boundary: Number; with a single output, the second class is that above it: 0
            for logits. Defaults to `0.5`.

    Attributes:
        stopped_epoch: The epoch that was the last one, counted from 0; None if training
            was not stopped.
        stopped_by: A sentence that says why training was stopped, or None.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> x = np.random.default_rng(0).normal(size=(64, 4))
        >>> y = x.argmax(axis=1)
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
        >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> model.compile("sgd", loss)
        >>> stop = kx.callbacks.LabelWaveEarlyStopping((x, y))
        >>> history = model.fit(x, y, epochs=5, callbacks=[stop], verbose=0).history
        >>> len(history["label_changes"])
        5

    References:
        - [Yuan et al., 2025](https://arxiv.org/abs/2502.07551)
    """

    criterion = "label_changes"
    remembered: ClassVar[tuple[str, ...]] = (
        "_before",
        "_changes",
        "_smallest",
        "_has_fallen",
        "_is_minimum",
    )

    def __init__(
        self,
        train_data: Data = None,
        *,
        window: int = 3,
        patience: int = 1,
        start_from_epoch: int = 0,
        restore_best_weights: bool = False,
        verbose: int = 1,
        max_rows: int | None = None,
        boundary: float = 0.5,
    ) -> None:
        super().__init__(
            patience=patience,
            start_from_epoch=start_from_epoch,
            restore_best_weights=restore_best_weights,
            verbose=verbose,
        )
        self.window = integer(window, "window", low=1)
        self.boundary = number(boundary, "boundary")
        self.max_rows = integer(max_rows, "max_rows", low=1, optional=True)
        self._given = given_rows(train_data, max_rows)

    def reset(self) -> None:
        super().reset()
        self._predict = tf.function(
            self._classes, autograph=False, reduce_retracing=True
        )
        self._before: np.ndarray | None = None
        self._changes: deque[float] = deque(maxlen=self.window)
        self._smallest = math.inf
        self._has_fallen = False
        self._is_minimum = False

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        # The same ones to the end: those of `fit` may come in another order each time.
        self._data = rows_to_train_on(self.model, self._given, self.max_rows)
        x, _, _ = next(iter(self._data))
        trace_early(self._predict, (x,), "train_data", "the outputs")

    def _classes(self, x: Data) -> list[Tensor]:
        outputs = keras.tree.flatten(called(self.model, x, training=False))
        return [
            keras.ops.argmax(y, axis=-1)
            if y.shape[-1] != 1
            else keras.ops.cast(y[..., 0] > self.boundary, "int64")
            for y in outputs
        ]

    def measure(self, epoch: int, logs: Record) -> float | None:
        batches = []
        for x, _, _ in self._data:
            classes = map(keras.ops.convert_to_numpy, self._predict(x))
            batches.append(np.concatenate([c.reshape(len(c), -1) for c in classes], 1))
        now, before = np.concatenate(batches), self._before
        self._before = now
        if before is None:
            return None
        changed = (now != before).any(axis=1)
        self._changes.append(float(changed.mean()))
        if len(self._changes) < self.window:
            return None
        return sum(self._changes) / self.window

    def verdict(self, value: float) -> str | None:
        # A minimum needs a fall before it: at the start, when all rows are still in
        # the same class, the changes may rise first.
        self._has_fallen |= value < self._smallest < math.inf
        self._is_minimum = value <= self._smallest or not self._has_fallen
        if self._is_minimum:
            self._smallest = value
            return None
        return (
            f"predictions change more again: {value:.3g} of them an epoch, after a "
            f"minimum of {self._smallest:.3g},"
        )

    def is_best(self, value: float | None) -> bool:
        return value is not None and self._is_minimum
