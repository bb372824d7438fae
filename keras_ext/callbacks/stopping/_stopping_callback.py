"""The base of the callbacks that end the training."""

import math
from typing import ClassVar

import keras
import numpy as np

from keras_ext._core._checks import flag, integer
from keras_ext._core._typing import Logs, Record
from keras_ext._engine._attached_pipeline import AttachedPipeline
from keras_ext._fit._copyable_callback import CopyableCallback
from keras_ext.callbacks._announcement import announce, verbosity


class StoppingCallback(CopyableCallback):
    """Stops training when a criterion has spoken for it often enough in a row.

    A subclass measures its criterion at the end of each epoch and says which values
    speak for a stop. What it measured is logged; NaN decides nothing.

    The arguments mean what they mean in `keras.callbacks.EarlyStopping`. Two differ on
    purpose: `verbose` is 1, since a training that ends without a word makes its user
    search; and weights are restored only if this callback has stopped the training.

    Args:
        patience: Integer >= 1; how many checks in a row have to speak for a stop.
        start_from_epoch: Integer >= 0; the epochs before this one, counted from 0 as
            `fit` does, are measured and logged, but count neither for `patience` nor as
            best.
        restore_best_weights: Whether to return to the best weights at the end of
            training, if it was stopped by this callback.
        verbose: 1 to print a line when training is stopped, 0 to be silent.
        **kwargs: Arguments of the next class.
    """

    # The name of the criterion in the logs.
    criterion: str
    remembered: ClassVar[tuple[str, ...]] = (
        "stopped_epoch",
        "stopped_by",
        "_epochs",
        "_streak",
        "_last",
        "_best_weights",
        "_best_epoch",
    )

    def __init__(
        self,
        *,
        patience: int = 1,
        start_from_epoch: int = 0,
        restore_best_weights: bool = False,
        verbose: int = 1,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        self.patience = integer(patience, "patience", low=1)
        self.start_from_epoch = integer(start_from_epoch, "start_from_epoch", low=0)
        self.restore_best_weights = flag(restore_best_weights, "restore_best_weights")
        self.verbose = verbosity(verbose)
        self.stopped_epoch: int | None = None
        self.stopped_by: str | None = None

    def reset(self) -> None:
        """Forgets what an earlier `fit` has brought."""
        self.stopped_epoch = self.stopped_by = None
        self._epochs = 0
        self._streak = 0
        self._last = math.nan
        self._best_weights: list[np.ndarray] | None = None
        self._best_epoch = 0

    def is_watched(self, epoch: int) -> bool:
        """Whether this epoch may decide anything, as `start_from_epoch` says."""
        return epoch >= self.start_from_epoch

    def measure(self, epoch: int, logs: Record) -> float | None:
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
        if self.is_watched(epoch):
            self._decide(epoch, value)

    def marks(self) -> dict[str, int]:
        if self.stopped_epoch is None:
            return {}
        best = {"restored": self._best_epoch} if self.restore_best_weights else {}
        return {"stopped": self.stopped_epoch, **best}

    def _decide(self, epoch: int, value: float | None) -> None:
        reason = self.verdict(value) if value is not None else None
        if value is not None:
            self._streak = self._streak + 1 if reason else 0
        if self.is_best(value) and self.restore_best_weights:
            self._best_weights, self._best_epoch = self.model.get_weights(), epoch
        if value is None:
            return
        if reason and self._streak >= self.patience:
            self._stop(epoch, reason)
        else:
            # In a `StopWhen`, training may have gone on after the wish to stop.
            self.stopped_epoch = self.stopped_by = None

    def _stop(self, epoch: int, reason: str) -> None:
        self.model.stop_training = True
        if self.stopped_epoch is None:
            self.stopped_epoch = epoch
        times = f" for {self._streak} epochs" if self._streak > 1 else ""
        self.stopped_by = reason + times

    def on_train_end(self, logs: Logs = None) -> None:
        super().on_train_end(logs)
        if self.stopped_epoch is not None:
            best_epoch = None
            if self._best_weights is not None:
                restore_weights(self.model, self._best_weights)
                best_epoch = self._best_epoch
            announce(self, best_epoch)
        self._best_weights = None


def restore_weights(model: keras.Model, weights: list[np.ndarray]) -> None:
    """Sets the weights of a model at the end of training."""
    if isinstance(model.optimizer, AttachedPipeline):
        # What has been accumulated would otherwise be applied to these weights.
        model.optimizer.flush()
    model.set_weights(weights)
