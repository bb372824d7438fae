"""Stops training whose learning curve promises nothing more."""

import math
from typing import ClassVar

from keras_ext._core._checks import integer, number, require
from keras_ext._core._typing import Record
from keras_ext.callbacks._monitored import monitored, validations_ahead
from keras_ext.callbacks.stopping._stopping_callback import StoppingCallback
from keras_ext.controllers.stopping._learning_curve import improvement_probability

# With fewer points than that, anything may come.
_FEWEST = 6


class LearningCurveEarlyStopping(StoppingCallback):
    """Stops training when the curve so far makes a better result improbable.

    It extrapolates the losses so far to the last epoch. It fits many shapes of falling
    curves, with and without a final rise from overfitting, and weights each by how well
    it explains the losses. Together they give the probability that some later epoch is
    better than the best so far. Patience asks whether the loss has improved lately;
    this asks whether it still will before the end of `fit`. So it waits through a
    slowly falling plateau and stops a hopeless training early. Use it to end the bad
    ones among many trainings. With `validation_freq` only epochs with a validation
    count.

    Logs `improvement_probability`, NaN before the sixth epoch.

    Args:
        probability: Number in (0, 1), below which to stop. Defaults to `0.05`.
        monitor: Name of a loss in the logs. Defaults to `"val_loss"`.
        min_delta: Number >= 0; what differs less from the best is no improvement.
            Defaults to `0.0`.
        total_epochs: Integer >= 1, up to which epoch to look. None means the `epochs`
            of `fit`.
        patience: Integer >= 1; how many epochs in a row have to speak for a stop.
            Defaults to `2`.
        start_from_epoch: Integer >= 0; the epochs before this one, counted from 0 as
            `fit` does, are logged and decide nothing, as in Keras's `EarlyStopping`.
            Defaults to `0`.
        restore_best_weights: Whether to return, at the stop, to the weights of the
            epoch with the smallest loss. Defaults to `False`.
        verbose: `1` to print a line when training is stopped, `0` to be silent.
            Defaults to `1`.

    Attributes:
        stopped_epoch: The epoch that was the last one, counted from 0; None if training
            was not stopped.
        stopped_by: A sentence that says why training was stopped, or None.

    Raises:
        ValueError: If an argument is out of range, or, at the end of an epoch, if the
            logs do not have the loss.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> x, y = np.random.default_rng(0).normal(size=(2, 40, 8))
        >>> layers = [keras.Input((8,)), keras.layers.Dense(64, "relu")]
        >>> model = keras.Sequential([*layers, keras.layers.Dense(8)])
        >>> model.compile(keras.optimizers.Adam(0.01), "mse")
        >>> stop = kx.callbacks.LearningCurveEarlyStopping()
        >>> history = model.fit(
        ...     x, y, validation_split=0.5, epochs=99, callbacks=[stop], verbose=0
        ... )
        Epoch ...: early stopping by LearningCurveEarlyStopping: ...
        >>> len(history.epoch) < 99  # nothing to learn here but noise
        True

    References:
        - [Domhan et al., 2015](https://www.ijcai.org/Proceedings/15/Papers/487.pdf):
          the question; the shapes and the fit are others here, in closed form
    """

    criterion = "improvement_probability"
    remembered: ClassVar[tuple[str, ...]] = ("_losses", "_improves")

    def __init__(
        self,
        probability: float = 0.05,
        *,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        total_epochs: int | None = None,
        patience: int = 2,
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
        self.probability = number(probability, "probability", above=0, below=1)
        valid = isinstance(monitor, str)
        require(valid, "monitor", monitor, "the name of a value in the logs")
        self.monitor = monitor
        self.min_delta = number(min_delta, "min_delta", low=0)
        self.total_epochs = integer(total_epochs, "total_epochs", low=1, optional=True)

    def reset(self) -> None:
        super().reset()
        self._losses: list[float] = []
        self._improves = False

    def measure(self, epoch: int, logs: Record) -> float | None:
        loss = monitored(self, logs)
        self._improves = False
        if loss is None or not self.is_watched(epoch):
            return None
        if not math.isfinite(loss):
            return math.nan
        self._improves = loss < min(self._losses, default=math.inf)
        self._losses.append(loss)
        if len(self._losses) < _FEWEST:
            return math.nan
        total = self.total_epochs or (self.params or {}).get("epochs", epoch + 1)
        ahead = max(int(total) - epoch - 1, 0)
        if self.monitor.startswith("val_"):
            ahead = validations_ahead(self.model, epoch, int(total))
        # Nothing is gained by a stop after the last one.
        if ahead == 0:
            return math.nan
        return improvement_probability(
            self._losses, len(self._losses) + ahead, min_delta=self.min_delta
        )

    def limits(self) -> dict[str, float]:
        return {self.criterion: self.probability}

    def verdict(self, value: float) -> str | None:
        if value < self.probability:
            return f"{self.monitor} will improve with probability {value:.2g} only"
        return None

    def is_best(self, value: float | None) -> bool:
        return self._improves
