"""Stops when the gradient has become small."""

import logging
import math
from typing import Any

from keras_ext.callbacks._gradient_callback import GradientCallback
from keras_ext.core._checks import is_integer, is_number, require
from keras_ext.core._typing import Logs
from keras_ext.optimizers._attached_pipeline import AttachedPipeline
from keras_ext.signals._gradient_statistics import GradientStatistics

_log = logging.getLogger(__name__)


class GradientNormEarlyStopping(GradientCallback):
    """Stops training when the gradient norm has fallen below a threshold.

    Needs no validation data. The norm is that of the gradient of the whole batch, over
    all weights and replicas, before any clipping, smoothed over some twenty updates.
    With `relative=True` it is compared with `threshold` times its largest value at the
    end of an epoch so far.

    A gradient of a batch of `B` samples is noisy, and its norm does not fall below the
    square root of the noise divided by `B`: with small batches a small threshold is
    never reached. Watch `grad_norm` in the logs of a run to choose it.

    Logs `grad_norm`, and `nonfinite_steps`, the updates left out so far.

    Args:
        threshold: Number > 0; the norm, or its ratio to the peak, to stop at.
            Defaults to `0.03`.
        relative: Whether the threshold is relative to the peak. Defaults to `True`.
        patience: Integer >= 1; for how many epochs in a row the norm has to be below.
            Defaults to `3`.
        min_epochs: Integer >= 0; never stop before so many epochs of this `fit`.
            Defaults to `5`.
        restore_best_weights: Whether to return, at the stop, to the weights of the
            epoch with the smallest norm. Defaults to `False`.
        nonfinite: `"skip"` to leave out updates whose gradient is NaN or infinite,
            `"raise"` to also end the training. Defaults to `"skip"`.

    Attributes:
        stopped_epoch: The epoch that was the last one, counted from 0; None if training
            was not stopped.
        stopped_by: A sentence that says why training was stopped, or None.

    Raises:
        ValueError: If an argument is out of range, or, when training begins, if the
            model has no optimizer or does not use it.
        FloatingPointError: With `nonfinite="raise"`, if a gradient was not finite.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> x = np.random.default_rng(0).normal(size=(64, 2))
        >>> y = x @ [[1.0], [2.0]]
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(0.3), "mse")
        >>> stop = kx.callbacks.GradientNormEarlyStopping(threshold=1e-2)
        >>> history = model.fit(x, y, epochs=100, callbacks=[stop], verbose=0)
        >>> len(history.epoch) < 100
        True
    """

    def __init__(
        self,
        threshold: float = 0.03,
        relative: bool = True,
        patience: int = 3,
        min_epochs: int = 5,
        restore_best_weights: bool = False,
        nonfinite: str = "skip",
    ) -> None:
        super().__init__(nonfinite=nonfinite)
        require(
            is_number(threshold) and threshold > 0,
            "threshold",
            threshold,
            "a number > 0",
        )
        for name, value, least in (
            ("patience", patience, 1),
            ("min_epochs", min_epochs, 0),
        ):
            expected = f"an integer >= {least}"
            require(is_integer(value) and value >= least, name, value, expected)
        for name, flag in (
            ("relative", relative),
            ("restore_best_weights", restore_best_weights),
        ):
            require(isinstance(flag, bool), name, flag, "True or False")
        require(
            not relative or threshold < 1,
            "threshold",
            threshold,
            "a number < 1 when relative=True",
        )
        self.threshold = threshold
        self.relative = relative
        self.patience = patience
        self.min_epochs = min_epochs
        self.restore_best_weights = restore_best_weights
        self._reset()

    def _reset(self) -> None:
        self.stopped_epoch: int | None = None
        self.stopped_by: str | None = None
        self._epochs = 0
        self._below = 0
        self._peak = 0.0
        self._smallest = math.inf
        self._best_weights: list[Any] | None = None

    def install(self, pipeline: AttachedPipeline) -> None:
        self._statistics = GradientStatistics(("gradient_norm",), smoothing=0.95)
        pipeline.add_signal(self._statistics)

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        norm = self._statistics.read()["global"]["gradient_norm"]
        if logs is not None:
            logs["grad_norm"] = norm
        super().on_epoch_end(epoch, logs)
        self._epochs += 1
        # Before the first update the norm is NaN, and nothing is decided by it.
        if math.isfinite(norm):
            self._decide(epoch, norm)

    def _decide(self, epoch: int, norm: float) -> None:
        self._peak = max(self._peak, norm)
        if norm < self._smallest:
            self._smallest = norm
            if self.restore_best_weights:
                self._best_weights = self.model.get_weights()
        limit = self.threshold * (self._peak if self.relative else 1.0)
        self._below = self._below + 1 if norm < limit else 0
        if self._below >= self.patience and self._epochs >= self.min_epochs:
            self._stop(epoch, norm, limit)

    def _stop(self, epoch: int, norm: float, limit: float) -> None:
        self.model.stop_training = True
        self.stopped_epoch = epoch
        self.stopped_by = (
            f"gradient norm {norm:.3g} below {limit:.3g} for {self._below} epochs"
        )
        if self._best_weights is not None:
            self.model.set_weights(self._best_weights)
        _log.info("Stopped after epoch %d: %s.", epoch + 1, self.stopped_by)

    def on_train_end(self, logs: Logs = None) -> None:
        super().on_train_end(logs)
        self._best_weights = None
