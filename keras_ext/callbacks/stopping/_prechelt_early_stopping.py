"""The three classes of stopping rules of Prechelt."""

import math
from typing import ClassVar

from keras_ext._core._checks import choice, integer, number, require
from keras_ext._core._typing import Record
from keras_ext.callbacks._monitored import monitored
from keras_ext.callbacks.stopping._stopping_callback import StoppingCallback

# The name of the criterion in the logs, and the threshold.
_RULES: dict[str, tuple[str, float]] = {
    "gl": ("generalization_loss", 5.0),
    "pq": ("progress_quotient", 0.75),
    "up": ("strips_up", 3),
}


class PrecheltEarlyStopping(StoppingCallback):
    """Stops training by validation loss, with a choice of rules other than patience.

    - `"gl"`: when the generalization loss, by how many percent the validation loss is
      above its smallest value so far, exceeds `threshold`.
    - `"pq"`: when the generalization loss exceeds `threshold` times the progress of
      training over the last `strip` epochs: by how many per mille the mean training
      loss of these epochs is above the smallest of them. So it does not stop while
      training still makes progress fast.
    - `"up"`: when the validation loss has risen from the end of one strip of `strip`
      epochs to that of the next, `threshold` times in a row, however small the rises.

    `"pq"` and `"up"` are checked at the end of a strip. In the experiments of the paper
    slow rules, with large thresholds, found results a little better, and took much
    longer. The losses have to be positive for `"gl"` and `"pq"`. With
    `validation_freq` only epochs with a validation count.

    Logs `generalization_loss`, `progress_quotient` or `strips_up`, NaN before the first
    check.

    Args:
        rule: `"gl"`, `"pq"` or `"up"`. Defaults to `"gl"`.
        threshold: Number > 0, for `"up"` an integer. None means 5 for `"gl"`, 0.75
            for `"pq"` and 3 for `"up"`, all of them used in the paper.
        monitor: Name of the validation loss in the logs. Defaults to `"val_loss"`.
        train_monitor: Name of the training loss in the logs, for `"pq"`.
            Defaults to `"loss"`.
        strip: Integer >= 2, the number of epochs in a strip. Defaults to `5`.
        start_from_epoch: Integer >= 0; the epochs before this one, counted from 0 as
            `fit` does, are logged and decide nothing, as in Keras's `EarlyStopping`.
            Defaults to `0`.
        restore_best_weights: Whether to return, at the stop, to the weights of the
            epoch with the smallest validation loss. Defaults to `False`.
        verbose: `1` to print a line when training is stopped, `0` to be silent.
            Defaults to `1`.

    Attributes:
        stopped_epoch: The epoch that was the last one, counted from 0; None if training
            was not stopped.
        stopped_by: A sentence that says why training was stopped, or None.

    Raises:
        ValueError: If an argument is out of range, or, at the end of an epoch, if the
            logs do not have a loss.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> x, y = np.random.default_rng(0).normal(size=(2, 40, 8))
        >>> layers = [keras.Input((8,)), keras.layers.Dense(64, "relu")]
        >>> model = keras.Sequential([*layers, keras.layers.Dense(8)])
        >>> model.compile(keras.optimizers.Adam(0.01), "mse")
        >>> stop = kx.callbacks.PrecheltEarlyStopping("gl", threshold=5)
        >>> history = model.fit(
        ...     x, y, validation_split=0.5, epochs=99, callbacks=[stop], verbose=0
        ... )
        Epoch ...: early stopping by PrecheltEarlyStopping: ...
        >>> len(history.epoch) < 99  # nothing to learn here but noise
        True

    References:
        - Prechelt, 1998, "Early Stopping - But When?", in Neural Networks: Tricks of
          the Trade
    """

    remembered: ClassVar[tuple[str, ...]] = (
        "_smallest",
        "_has_improved",
        "_training",
        "_last_end",
        "_ups",
        "_watched",
    )

    def __init__(
        self,
        rule: str = "gl",
        *,
        threshold: float | None = None,
        monitor: str = "val_loss",
        train_monitor: str = "loss",
        strip: int = 5,
        start_from_epoch: int = 0,
        restore_best_weights: bool = False,
        verbose: int = 1,
    ) -> None:
        super().__init__(
            patience=1,
            start_from_epoch=start_from_epoch,
            restore_best_weights=restore_best_weights,
            verbose=verbose,
        )
        self.rule = choice(rule, "rule", tuple(_RULES))
        self.criterion, usual = _RULES[rule]
        if rule == "up":
            threshold = integer(threshold, "threshold", low=1, optional=True)
        else:
            threshold = number(threshold, "threshold", above=0, optional=True)
        self.threshold = usual if threshold is None else threshold
        for name, key in (("monitor", monitor), ("train_monitor", train_monitor)):
            require(isinstance(key, str), name, key, "the name of a value in the logs")
        self.monitor = monitor
        self.train_monitor = train_monitor
        self.strip = integer(strip, "strip", low=2)

    def reset(self) -> None:
        super().reset()
        self._smallest = math.inf
        self._has_improved = False
        self._training: list[float] = []
        self._watched = 0
        self._last_end = math.nan
        self._ups = 0

    def measure(self, epoch: int, logs: Record) -> float | None:
        loss = monitored(self, logs)
        training = monitored(self, logs, "train_monitor") if self.rule == "pq" else 0.0
        self._has_improved = False
        if loss is None or training is None:
            return None
        if not self.is_watched(epoch):
            # As in Keras, no epoch before can be the best; the first strip begins here.
            return None
        self._watched += 1
        self._training.append(training)
        self._has_improved = loss < self._smallest
        self._smallest = min(self._smallest, loss)
        if self.rule == "gl":
            return self._generalization_loss(loss)
        if self._watched % self.strip:
            return None
        return self._quotient(loss) if self.rule == "pq" else self._count_ups(loss)

    def _generalization_loss(self, loss: float) -> float:
        if self._smallest <= 0:
            return math.nan
        return 100.0 * (loss / self._smallest - 1.0)

    def _quotient(self, loss: float) -> float:
        recent = self._training[-self.strip :]
        if min(recent) <= 0:
            return math.nan
        # Prechelt counts the progress per mille, and the loss of generalization in
        # percent.
        progress = 1000.0 * (sum(recent) / self.strip / min(recent) - 1.0)
        overfit = self._generalization_loss(loss)
        if progress <= 0:
            # A strip whose losses are all the same has made no progress to divide by.
            return math.inf if overfit > 0 else overfit
        return overfit / progress

    def _count_ups(self, loss: float) -> float:
        if math.isnan(loss):
            return loss
        self._ups = self._ups + 1 if loss > self._last_end else 0
        self._last_end = loss
        return float(self._ups)

    def limits(self) -> dict[str, float]:
        return {self.criterion: self.threshold}

    def verdict(self, value: float) -> str | None:
        if self.rule == "up":
            if value >= self.threshold:
                return f"{self.monitor} has risen over {value:g} strips of epochs"
            return None
        if value > self.threshold:
            name = self.criterion.replace("_", " ")
            return f"{name} {value:.3g} above {self.threshold:.3g}"
        return None

    def is_best(self, value: float | None) -> bool:
        return self._has_improved
