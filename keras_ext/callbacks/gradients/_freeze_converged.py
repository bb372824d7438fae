"""Stops weights one by one when their gradients have become small."""

import math
import statistics

from keras_ext._core._checks import number
from keras_ext._core._pattern import check_pattern, is_selected
from keras_ext._core._typing import Pattern, Record, Variable
from keras_ext._engine._attached_pipeline import AttachedPipeline
from keras_ext.callbacks._announcement import tell
from keras_ext.callbacks.gradients._gradient_callback import GradientCallback
from keras_ext.callbacks.stopping._stopping_callback import StoppingCallback
from keras_ext.gradients.scale._freeze import Freeze
from keras_ext.signals.gradients._gradient_statistics import GradientStatistics

# The threshold of a weight in terms of its norms in the grace period.
_SHARE = 0.1


class FreezeConverged(StoppingCallback, GradientCallback):
    """Freezes each weight when its gradient has become small, and stops with the last.

    The parts of a model do not converge at the same time, especially in fine-tuning. In
    the first part of training, the grace period, nothing is frozen. Then, at the end of
    each epoch, every weight is frozen whose gradient norm is below a threshold. When
    all are frozen, training stops. By default the threshold of a weight is a tenth of
    the median of its norms at the ends of the epochs of the grace period.

    `keras_ext.gradients.Freeze` keeps a frozen weight, with every bit; it is not thawed
    again in the same `fit`. The gradients of frozen weights are still computed, so a
    step takes as long as before; only needless epochs are saved. Norms are smoothed
    over about ten updates. The noise of small batches keeps norms from becoming small,
    see `GradientNormEarlyStopping`.

    The method is that of GradES, with these differences: GradES measures a gradient by
    the sum of its absolute values (or of their changes), uses one tuned threshold for
    all matrices, and checks every step.

    Logs `frozen_fraction`, the share of all numbers in the weights that is frozen, and
    `nonfinite_steps`, the updates left out so far.

    Args:
        threshold: Number > 0, the norm to freeze a weight at. None means a tenth of the
            median of its own norms in the grace period.
        grace: Number in (0, 1), the share of the epochs of `fit` in which nothing is
            frozen; at least one epoch. Defaults to `0.5`.
        include: Which weights are frozen: a regular expression that is searched in
            `variable.path`, a list of them, or a function. None means all. The
            training stops when all of these are frozen.
        exclude: Which are not, in the same form. None means none.
        verbose: `1` to print a line when training is stopped, `0` to be silent.
            Defaults to `1`. With it there is also a line when something was frozen,
            unless `fit` is told `verbose=0`.
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
        >>> x = np.random.default_rng(0).normal(size=(64, 2))
        >>> y = x @ [[1.0], [2.0]]
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(0.1), "mse")
        >>> stop = kx.callbacks.FreezeConverged(grace=0.1)
        >>> history = model.fit(x, y, epochs=99, callbacks=[stop], verbose=0)
        Epoch ...: early stopping by FreezeConverged: ...
        >>> len(history.epoch) < 99
        True
        >>> history.history["frozen_fraction"][-1]
        1.0

    References:
        - [Wen et al., 2025](https://arxiv.org/abs/2509.01842) (GradES)
    """

    criterion = "frozen_fraction"
    compiled = frozenset({"include", "exclude"})

    def __init__(
        self,
        threshold: float | None = None,
        *,
        grace: float = 0.5,
        include: Pattern = None,
        exclude: Pattern = None,
        verbose: int = 1,
        nonfinite: str = "skip",
    ) -> None:
        super().__init__(verbose=verbose, nonfinite=nonfinite)
        check_pattern("include", include)
        check_pattern("exclude", exclude)
        self.threshold = number(threshold, "threshold", above=0, optional=True)
        self.grace = number(grace, "grace", above=0, below=1)
        self.include = include
        self.exclude = exclude

    def reset(self) -> None:
        super().reset()
        self._history: dict[str, list[float]] = {}

    def get_state(self) -> Record:
        # In the order of the weights: another model may have other names for them.
        return {**super().get_state(), "norms": list(self._history.values())}

    def set_state(self, state: Record) -> None:
        super().set_state(state)
        paths = [v.path for v in self.model.trainable_variables]
        # Before the end of the first epoch there are no norms.
        self._history = dict(zip(paths, state["norms"], strict=False))

    def install(self, pipeline: AttachedPipeline) -> None:
        self._freeze = Freeze(include=self.include, exclude=self.exclude, frozen=False)
        pipeline.add_transform(self._freeze)
        self._statistics = GradientStatistics(("gradient_norm",), smoothing=0.9)
        pipeline.add_signal(self._statistics)

    def measure(self, epoch: int, logs: Record) -> float:
        norms = self._statistics.read()["per_weight"]
        # Of this `fit` alone: it may begin at an `initial_epoch`.
        epochs = self.params["epochs"] - (epoch - self._epochs)
        is_unknown = self.threshold is None and not self._history
        if is_unknown or self._epochs < max(1, round(self.grace * epochs)):
            for path, values in norms.items():
                # Unknown while no update was made.
                if not math.isnan(values["gradient_norm"]):
                    self._history.setdefault(path, []).append(values["gradient_norm"])
        else:
            small = {
                path
                for path, values in norms.items()
                if values["gradient_norm"] <= self._limit(path)
            }
            # `freeze` raises where nothing fits.
            if any(v.path in small for v in self._chosen()):
                before = self._freeze.frozen_fraction
                self._freeze.freeze(lambda variable: variable.path in small)
                self._tell_frozen(epoch, before)
        return self._freeze.frozen_fraction

    def _tell_frozen(self, epoch: int, before: float) -> None:
        share = self._freeze.frozen_fraction
        if share > before:
            chosen = self._chosen()
            count = f"{sum(map(self._freeze.is_frozen, chosen))} of {len(chosen)}"
            line = f"{count} weights are frozen, {share:.0%} of all numbers"
            tell(self, line, epoch=epoch)

    def _limit(self, path: str) -> float:
        if self.threshold is not None:
            return self.threshold
        return _SHARE * statistics.median(self._history[path])

    def _chosen(self) -> list[Variable]:
        weights = self.model.trainable_variables
        return [v for v in weights if is_selected(v, self.include, self.exclude)]

    def verdict(self, value: float) -> str | None:
        chosen = self._chosen()
        if all(map(self._freeze.is_frozen, chosen)):
            return f"the gradients of all {len(chosen)} weights have become small"
        return None
