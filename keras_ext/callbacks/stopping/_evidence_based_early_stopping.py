"""Stops when the gradients of the data are no evidence of a slope any more."""

import math
from typing import ClassVar

from keras_ext._core._checks import number
from keras_ext._core._typing import Record
from keras_ext._engine._attached_pipeline import AttachedPipeline
from keras_ext.callbacks.gradients._gradient_callback import GradientCallback
from keras_ext.callbacks.stopping._stopping_callback import StoppingCallback
from keras_ext.signals.gradients._gradient_moments import GradientMoments


class EvidenceBasedEarlyStopping(StoppingCallback, GradientCallback):
    """Stops training when the mean gradient is within its sampling error.

    It needs no validation data. The training data are a sample: even if the gradient on
    all possible data were zero, their mean gradient would not be. At the end of each
    epoch, every element of the mean gradient is compared with its standard error, from
    its variance over the batches. The criterion is one minus the mean of the squared
    ratios. It is far below zero while there is something to learn, and rises above zero
    when the gradient is as small as chance makes it. It is averaged over epochs, and
    training stops when it is positive.

    The variance is that within an epoch, of micro-batches when accumulating, of
    replicas when distributed, else of successive updates, by
    `keras_ext.signals.GradientMoments`. With few batches the ratios are biased upwards;
    this is corrected. With fewer than six batches per epoch, the sums of squares are
    compared instead of the elements. It takes at least two batches. Elements without
    variance, as in dead units, are ignored. Penalties of regularizers are part of the
    gradient.

    Logs `gradient_evidence`, the averaged criterion, and `nonfinite_steps`, the updates
    left out so far.

    Args:
        smoothing: Number in [0, 1), the weight of the past in the average over epochs.
            Defaults to `0.8`.
        patience: Integer >= 1; for how many epochs in a row the average has to be
            positive. Defaults to `3`.
        start_from_epoch: Integer >= 0; the epochs before this one, counted from 0 as
            `fit` does, are logged and decide nothing, as in Keras's `EarlyStopping`.
            Defaults to `2`.
        restore_best_weights: Whether to return, at the stop, to the first of these
            epochs. Defaults to `False`.
        verbose: `1` to print a line when training is stopped, `0` to be silent.
            Defaults to `1`.
        nonfinite: `"skip"` to leave out updates whose gradient is NaN or infinite,
            `"raise"` to also end the training, `"recover"` to go back to good weights,
            see `GradientCallback`. Defaults to `"skip"`.

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
        >>> x, noise = np.random.default_rng(0).normal(size=(2, 320, 1))
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(0.05), "mse")
        >>> stop = kx.callbacks.EvidenceBasedEarlyStopping()
        >>> history = model.fit(x, x + noise, epochs=99, callbacks=[stop], verbose=0)
        Epoch ...: early stopping by EvidenceBasedEarlyStopping: ...
        >>> len(history.epoch) < 99
        True

    References:
        - [Mahsereci et al., 2017](https://arxiv.org/abs/1703.09580)
    """

    criterion = "gradient_evidence"
    remembered: ClassVar[tuple[str, ...]] = ("_average", "_weight")

    def __init__(
        self,
        smoothing: float = 0.8,
        *,
        patience: int = 3,
        start_from_epoch: int = 2,
        restore_best_weights: bool = False,
        verbose: int = 1,
        nonfinite: str = "skip",
    ) -> None:
        super().__init__(
            patience=patience,
            start_from_epoch=start_from_epoch,
            restore_best_weights=restore_best_weights,
            verbose=verbose,
            nonfinite=nonfinite,
        )
        self.smoothing = number(smoothing, "smoothing", low=0, below=1)

    def reset(self) -> None:
        super().reset()
        self._average = 0.0
        self._weight = 0.0

    def install(self, pipeline: AttachedPipeline) -> None:
        self._moments = GradientMoments(window=None)
        pipeline.add_signal(self._moments)

    def measure(self, epoch: int, logs: Record) -> float | None:
        evidence = self._moments.read()["global"]["evidence"]
        if math.isnan(evidence):
            return None
        self._average = self.smoothing * self._average + (1 - self.smoothing) * evidence
        self._weight = self.smoothing * self._weight + (1 - self.smoothing)
        # Both began at zero, so this is the average of what was measured.
        return self._average / self._weight

    def limits(self) -> dict[str, float]:
        return {self.criterion: 0.0}

    def verdict(self, value: float) -> str | None:
        if value > 0:
            return f"evidence criterion {value:.3g} above 0"
        return None
