"""The base of the callbacks that end the training."""

import logging
import math
from typing import Any

import keras

from keras_ext._core._checks import is_integer, require
from keras_ext._core._typing import Logs
from keras_ext._engine._attached_pipeline import AttachedPipeline
from keras_ext._fit._copyable_callback import CopyableCallback

_log = logging.getLogger(__name__)


class StoppingCallback(CopyableCallback):
    """Stops training when a criterion has spoken for it often enough in a row.

    A subclass measures its criterion at the end of each epoch and says which values
    speak for a stop. What it measured is logged; NaN decides nothing.

    Args:
        patience: Integer >= 1; how many checks in a row have to speak for a stop.
        min_epochs: Integer >= 0; never stop before so many epochs of this `fit`.
        restore_best_weights: Whether to return to the best weights at the end of
            training, if it was stopped by this callback.
        **kwargs: Arguments of the next class.
    """

    # The name of the criterion in the logs.
    criterion: str

    def __init__(
        self,
        patience: int,
        min_epochs: int,
        restore_best_weights: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, value, least in (
            ("patience", patience, 1),
            ("min_epochs", min_epochs, 0),
        ):
            expected = f"an integer >= {least}"
            require(is_integer(value) and value >= least, name, value, expected)
        require(
            isinstance(restore_best_weights, bool),
            "restore_best_weights",
            restore_best_weights,
            "True or False",
        )
        self.patience = patience
        self.min_epochs = min_epochs
        self.restore_best_weights = restore_best_weights
        self.stopped_epoch: int | None = None
        self.stopped_by: str | None = None

    def reset(self) -> None:
        """Forgets what an earlier `fit` has brought."""
        self.stopped_epoch = self.stopped_by = None
        self._epochs = 0
        self._streak = 0
        self._last = math.nan
        self._best_weights: list[Any] | None = None

    def measure(self, epoch: int, logs: dict[str, Any]) -> float | None:
        """Returns the criterion; NaN if it is unknown, None if this is no check."""
        raise NotImplementedError

    def verdict(self, value: float) -> str | None:
        """Returns what speaks for a stop, the part of a sentence, or None."""
        raise NotImplementedError

    def is_best(self, value: float | None) -> bool:
        """Whether the present weights are the best ones so far, after `verdict`.

        Unless overridden, those where the present row of checks for a stop began.

        Args:
            value: The criterion, or None if nothing was decided by it.
        """
        return value is not None and self._streak == 1

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        self.reset()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        value = self.measure(epoch, logs or {})
        self._last = self._last if value is None else value
        if logs is not None:
            logs[self.criterion] = self._last
        super().on_epoch_end(epoch, logs)
        self._epochs += 1
        if value is not None and math.isnan(value):
            value = None
        reason = None
        if value is not None:
            reason = self.verdict(value)
            self._streak = self._streak + 1 if reason else 0
        if self.is_best(value) and self.restore_best_weights:
            self._best_weights = self.model.get_weights()
        if value is not None:
            self._decide(epoch, reason)

    def _decide(self, epoch: int, reason: str | None) -> None:
        if reason and self._streak >= self.patience and self._epochs >= self.min_epochs:
            self._stop(epoch, reason)
        else:
            # In a `StopWhen`, training may have gone on after the wish to stop.
            self.stopped_epoch = self.stopped_by = None

    def _stop(self, epoch: int, reason: str) -> None:
        self.model.stop_training = True
        if self.stopped_epoch is None:
            self.stopped_epoch = epoch
            _log.info("Stopped after epoch %d: %s.", epoch + 1, reason)
        times = f" for {self._streak} epochs" if self._streak > 1 else ""
        self.stopped_by = reason + times

    def on_train_end(self, logs: Logs = None) -> None:
        super().on_train_end(logs)
        if self.stopped_epoch is not None and self._best_weights is not None:
            restore_weights(self.model, self._best_weights)
        self._best_weights = None


def restore_weights(model: keras.Model, weights: list[Any]) -> None:
    """Sets the weights of a model at the end of training."""
    if isinstance(model.optimizer, AttachedPipeline):
        # What has been accumulated would otherwise be applied to these weights.
        model.optimizer.flush()
    model.set_weights(weights)
