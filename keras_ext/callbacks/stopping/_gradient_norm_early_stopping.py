"""Stops when the gradient has become small."""

import math
from collections import deque
from collections.abc import Mapping
from typing import ClassVar

from keras_ext._core._checks import flag, integer, number, require
from keras_ext._core._typing import Record
from keras_ext._engine._attached_pipeline import AttachedPipeline
from keras_ext.callbacks.gradients._gradient_callback import GradientCallback
from keras_ext.callbacks.stopping._stopping_callback import StoppingCallback
from keras_ext.controllers.stopping._falling_by_chance import falling_by_chance
from keras_ext.signals.gradients._gradient_moments import GradientMoments
from keras_ext.signals.gradients._gradient_statistics import GradientStatistics

# No trend: a sequence in random order falls as much as this one with a probability
# above this.
_NO_TREND = 0.3


class GradientNormEarlyStopping(StoppingCallback, GradientCallback):
    """Stops training when the gradient norm has fallen below a threshold.

    It needs no validation data. The norm is that of the gradient of the whole batch,
    over all weights and replicas, before any clipping, smoothed over about twenty
    updates. With `relative=True` it is compared with `threshold` times its largest
    value so far at the end of an epoch. With `trend`, there is no threshold: training
    stops when the norm no longer falls.

    The gradient of a batch of `B` samples is noisy, and its norm does not fall below
    about the square root of `variance / B`: with small batches a small threshold is
    never reached. Watch `mean_gradient_norm` in the logs of a run to choose the
    threshold, or set `debias=True`. Then the norm is that of the mean gradient of an
    epoch without the contribution of the noise, by `keras_ext.signals.GradientMoments`;
    0 if nothing is left. This takes at least two updates, or micro-batches, per epoch.

    Logs `mean_gradient_norm`, and `nonfinite_steps`, the updates left out so far.

    Args:
        threshold: Number > 0; the norm, or its ratio to the peak, to stop at.
            Defaults to `0.03`.
        relative: Whether the threshold is relative to the peak. Defaults to `True`.
        patience: Integer >= 1; for how many epochs in a row the norm has to be below,
            or without a trend. Defaults to `3`.
        start_from_epoch: Integer >= 0; the epochs before this one, counted from 0 as
            `fit` does, are logged and decide nothing, as in Keras's `EarlyStopping`.
            Defaults to `2`.
        restore_best_weights: Whether to return, at the stop, to the weights of the
            epoch with the smallest norm; with `trend`, of the first epoch without a
            trend. Defaults to `False`.
        verbose: `1` to print a line when training is stopped, `0` to be silent.
            Defaults to `1`.
        nonfinite: `"skip"` to leave out updates whose gradient is NaN or infinite,
            `"raise"` to also end the training, `"recover"` to go back to good weights,
            see `GradientCallback`. Defaults to `"skip"`.
        debias: Whether to take what noise adds out of the norm. Keeps two copies of
            the gradient on the device. Defaults to `False`.
        trend: Integer >= 4; stop when the norms of this many epochs show no falling
            trend: in random order they would fall as much with a probability above
            0.3, by the test of Mann and Kendall. `threshold` is not used then. None
            means to compare with the threshold.

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
        Epoch ...: early stopping by GradientNormEarlyStopping: ...
        >>> len(history.epoch) < 100
        True
    """

    compiled = frozenset({"debias"})

    criterion = "mean_gradient_norm"
    remembered: ClassVar[tuple[str, ...]] = ("_peak", "_smallest", "_recent")

    def __init__(  # noqa: PLR0913
        self,
        threshold: float = 0.03,
        *,
        relative: bool = True,
        patience: int = 3,
        start_from_epoch: int = 2,
        restore_best_weights: bool = False,
        verbose: int = 1,
        nonfinite: str = "skip",
        debias: bool = False,
        trend: int | None = None,
    ) -> None:
        super().__init__(
            patience=patience,
            start_from_epoch=start_from_epoch,
            restore_best_weights=restore_best_weights,
            verbose=verbose,
            nonfinite=nonfinite,
        )
        self.threshold = number(threshold, "threshold", above=0)
        self.relative = flag(relative, "relative")
        self.debias = flag(debias, "debias")
        self.trend = integer(trend, "trend", low=4, optional=True)
        is_share = not self.relative or self.threshold < 1
        expected = "a number < 1 when relative=True"
        require(is_share, "threshold", threshold, expected)

    def reset(self) -> None:
        super().reset()
        self._peak = 0.0
        self._smallest = math.inf
        self._recent: deque[float] = deque(maxlen=self.trend)

    def install(self, pipeline: AttachedPipeline) -> None:
        self._signal: GradientMoments | GradientStatistics
        if self.debias:
            self._signal = GradientMoments(window=None)
        else:
            self._signal = GradientStatistics(("gradient_norm",), smoothing=0.95)
        pipeline.add_signal(self._signal)

    def measure(self, epoch: int, logs: Record) -> float:
        # Before the first update it is NaN.
        measured = self._signal.read()["global"]
        norm = measured["gradient_norm"] if not self.debias else _debiased(measured)
        if not math.isnan(norm):
            # The peak is at the start, also before `start_from_epoch`.
            self._peak = max(self._peak, norm)
            self._recent.append(norm)
        return norm

    def limits(self) -> dict[str, float]:
        """The norm below which it stops, as the peak so far has it."""
        if self.trend is not None:
            return {}
        scale = self._peak if self.relative else 1.0
        return {self.criterion: self.threshold * scale}

    def verdict(self, value: float) -> str | None:
        if self.trend is not None:
            return self._without_trend()
        limit = self.limits()[self.criterion]
        if value < limit:
            return f"gradient norm {value:.3g} below {limit:.3g}"
        return None

    def _without_trend(self) -> str | None:
        chance = falling_by_chance(self._recent)
        if len(self._recent) != self.trend or chance <= _NO_TREND:
            return None
        return (
            f"gradient norms of {self.trend} epochs without a falling trend "
            f"(p={chance:.2g})"
        )

    def is_best(self, value: float | None) -> bool:
        if self.trend is not None:
            return super().is_best(value)
        if value is None or value >= self._smallest:
            return False
        self._smallest = value
        return True


def _debiased(measured: Mapping[str, float]) -> float:
    # An estimate of a square without bias may be below 0.
    return math.sqrt(max(measured["signal"], 0.0))
