"""Stops when the gradient is mostly noise."""

from typing import Any

from keras_ext._core._checks import is_number, require
from keras_ext._engine._attached_pipeline import AttachedPipeline
from keras_ext.callbacks.gradients._gradient_callback import GradientCallback
from keras_ext.callbacks.stopping._stopping_callback import StoppingCallback
from keras_ext.signals.gradients._gradient_moments import GradientMoments


class GradientVarianceEarlyStopping(StoppingCallback, GradientCallback):
    """Stops training when the noise of the gradient outweighs the gradient.

    Needs no validation data. At the end of each epoch the squared norm of the true
    gradient and the variance of the gradient of an update are estimated from all
    gradients of the epoch, by `keras_ext.signals.GradientMoments`, and their ratio is
    compared with `threshold`. It is the inverse of the noise scale in batches: at 1,
    signal and noise of an update are equally strong.

    A ratio below 1 is no reason to stop: small batches make progress by the mean of
    many updates. At 0 there is no sign of a true gradient left; since the estimate is
    without bias, it is below 0 in half of the epochs then. An epoch has to have two
    updates, or micro-batches, at least.

    Logs `grad_snr`, and `nonfinite_steps`, the updates left out so far.

    Args:
        threshold: Number >= 0, the ratio of signal to noise to stop below. A larger
            one stops sooner. Defaults to `0.0`.
        patience: Integer >= 1; for how many epochs in a row the ratio has to be below.
            Defaults to `3`.
        min_epochs: Integer >= 0; never stop before so many epochs of this `fit`.
            Defaults to `5`.
        restore_best_weights: Whether to return, at the stop, to the first of these
            epochs. Defaults to `False`.
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
        >>> x, noise = np.random.default_rng(0).normal(size=(2, 320, 1))
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(0.05), "mse")
        >>> stop = kx.callbacks.GradientVarianceEarlyStopping()
        >>> history = model.fit(x, x + noise, epochs=99, callbacks=[stop], verbose=0)
        >>> len(history.epoch) < 99
        True

    References:
        - [McCandlish et al., 2018](https://arxiv.org/abs/1812.06162) (noise scale)
    """

    criterion = "grad_snr"

    def __init__(
        self,
        threshold: float = 0.0,
        patience: int = 3,
        min_epochs: int = 5,
        restore_best_weights: bool = False,
        nonfinite: str = "skip",
    ) -> None:
        super().__init__(
            patience=patience,
            min_epochs=min_epochs,
            restore_best_weights=restore_best_weights,
            nonfinite=nonfinite,
        )
        require(
            is_number(threshold) and threshold >= 0,
            "threshold",
            threshold,
            "a number >= 0",
        )
        self.threshold = threshold

    def install(self, pipeline: AttachedPipeline) -> None:
        self._moments = GradientMoments(window=None)
        pipeline.add_signal(self._moments)

    def measure(self, epoch: int, logs: dict[str, Any]) -> float:
        return self._moments.read()["global"]["snr"]

    def verdict(self, value: float) -> str | None:
        if value < self.threshold:
            return f"signal-to-noise ratio {value:.3g} below {self.threshold:.3g}"
        return None
