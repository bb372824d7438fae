"""Finds a learning rate while training, by trial and with a way back."""

import math
import statistics
from collections.abc import Sequence
from typing import Any, ClassVar

from keras import ops

from keras_ext._anatomy._fixed_data import FixedData
from keras_ext._core._checks import checked_seed, flag, integer, is_number, require
from keras_ext._core._typing import Data, Logs, Variable
from keras_ext._fit._fit_scope import FitScope
from keras_ext.callbacks.regularization._data_of_fit import DataOfFit
from keras_ext.callbacks.schedules._rate_callback import RateCallback
from keras_ext.controllers import Bandit
from keras_ext.signals import LossProbe

_ARMS = (0.25, 0.5, 1.0, 2.0, 4.0)
# Of the bandit, as published for learning rates.
_EXPLORATION, _FORGETTING = 0.15, 0.95
# A loss that doubles is a step to be taken back.
_BURST = math.log(2)
_FEWEST, _MEMORY = 3, 20


class BanditLearningRate(RateCallback):
    """Tries factors on the learning rate, and prefers those that made the loss fall.

    Every so many batches an arm of a bandit, a factor, multiplies the learning rate;
    then the loss on fixed training data says what it has brought: by how much its
    logarithm fell, measured in the usual size of such changes. If the loss doubled, or
    is not finite any more, the weights and the state of the optimizer go back to where
    they were before, and the rate too. So it finds out of a rate that is far too small.
    Out of one that is far too large it may not, if the first steps spoil the weights;
    and a well-tuned schedule it does not beat. It works with any optimizer, and on top
    of a schedule. At the end of `fit` the optimizer has its own rate again.

    Logs `learning_rate_multiplier`.

    Args:
        train_data: `(x, y)` or a dataset to measure the loss on. None means rows of
            what `fit` trains on.
        arms: List of two or more numbers > 0, the factors.
            Defaults to `(0.25, 0.5, 1.0, 2.0, 4.0)`.
        every: Integer >= 1, the batches between decisions. Defaults to `50`.
        rollback: Whether to take back what made the loss double; it takes memory for a
            copy of the weights and of the optimizer. Defaults to `True`.
        min_multiplier: Number > 0, the smallest number to multiply by in all.
            Defaults to `0.0001`.
        max_multiplier: Number > 0, the largest. Defaults to `10000.0`.
        seed: Integer from 0 to 2**31 - 1, the seed of the draws. None means random.
        verbose: `1` to print a line at the end with the last multiplier, unless `fit`
            is told `verbose=0`; `0` to be silent. Defaults to `1`.

    Attributes:
        rollbacks: How often it went back in the last `fit`.

    Raises:
        ValueError: If an argument is out of range, or, when training begins, if the
            optimizer has several learning rates, or another callback moves it.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> keras.utils.set_random_seed(0)
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(1e-4), "mse")  # far too small
        >>> x = np.random.default_rng(0).normal(size=(256, 4))
        >>> bandit = kx.callbacks.BanditLearningRate(every=4, seed=0)
        >>> history = model.fit(
        ...     x, x[:, :1], batch_size=8, epochs=10, callbacks=[bandit], verbose=0
        ... )
        >>> history.history["learning_rate_multiplier"][-1] > 10
        True

    References:
        - [Donâncio et al., 2024](https://arxiv.org/abs/2410.12598)
    """

    remembered: ClassVar[tuple[str, ...]] = (
        "_bandit",
        "_loss",
        "_changes",
        "_before",
        "_batches",
        "_decided",
        "rollbacks",
    )

    def __init__(
        self,
        train_data: Data = None,
        *,
        arms: Sequence[float] = _ARMS,
        every: int = 50,
        rollback: bool = True,
        min_multiplier: float = 1e-4,
        max_multiplier: float = 1e4,
        seed: int | None = None,
        verbose: int = 1,
    ) -> None:
        super().__init__(
            min_multiplier=min_multiplier,
            max_multiplier=max_multiplier,
            verbose=verbose,
        )
        self.train_data = train_data
        self._rows: FixedData | None = None
        if train_data is not None:
            self._rows = FixedData(train_data, name="train_data")
        valid = isinstance(arms, list | tuple) and len(arms) >= 2
        valid = valid and all(is_number(a) and a > 0 for a in arms)
        require(valid, "arms", arms, "a list of two or more numbers > 0")
        self.arms = list(arms)
        self.every = integer(every, "every", low=1)
        self.rollback = flag(rollback, "rollback")
        self.seed = checked_seed(seed)
        self.rollbacks = 0

    def attach(self, scope: FitScope) -> None:
        super().attach(scope)
        model = scope.model
        rows = self._rows
        self._probe = LossProbe(
            DataOfFit(model).training_rows() if rows is None else rows
        )
        if model.built:
            self._probe.prepare(model, name="train_data")
        self._bandit = Bandit(
            self.arms,
            exploration=_EXPLORATION,
            forgetting=_FORGETTING,
            seed=self.seed,
        )
        self._changes: list[float] = []
        self._loss = math.nan
        self._before = self._batches = self._decided = 0
        self.rollbacks = 0
        self._copy: list[tuple[Variable, Any]] = []
        self._last = 1.0

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        if batch == 0:
            self._before += self._batches
        self._batches = batch + self.model.steps_per_execution
        done = self._before + batch
        if done == 0 or done - self._decided >= self.every:
            self._decided = done
            self._decide()

    def _decide(self) -> None:
        loss = self._probe.measure(self.model)
        is_first = math.isnan(self._loss)
        factor = self._bandit.arm if is_first else self._judged(loss)
        if is_first:
            self._loss = loss
        self._keep()
        self._last = self.multiplier
        self.multiply(factor)

    def _judged(self, loss: float) -> float:
        """The next factor, after what the last one has brought."""
        change = _fall(self._loss, loss)
        if change is None or change < -_BURST:
            if self.rollback:
                self._go_back()
            else:
                self._loss = loss
            return float(self._bandit.update(0.0))
        self._loss = loss
        self._changes = [*self._changes, change][-_MEMORY:]
        return float(self._bandit.update(self._reward(change)))

    def _reward(self, change: float) -> float:
        """A half for the change that is usual, of those before."""
        if len(self._changes) < _FEWEST:
            return 0.5
        middle = statistics.median(self._changes)
        spread = statistics.median(abs(c - middle) for c in self._changes)
        return 0.5 + 0.5 * (change - middle) / max(3 * spread, 1e-12)

    def _keep(self) -> None:
        if self.rollback:
            self._copy = [(v, ops.copy(v)) for v in self._written()]

    def _go_back(self) -> None:
        for variable, value in self._copy:
            variable.assign(value)
        self.set_multiplier(self._last)
        self.rollbacks += 1

    def summary(self) -> str:
        count = self.rollbacks
        times = "once" if count == 1 else f"{count} times"
        return super().summary() + (f", after going back {times}" if count else "")

    def _written(self) -> list[Variable]:
        """What training writes, but for counters, seeds and the rate itself."""
        optimizer = self.model.optimizer
        numbers = {id(v) for v in optimizer.variables if len(v.shape) == 0}
        found = [*self.model.variables, *optimizer.variables]
        return [
            v
            for v in {id(v): v for v in found}.values()
            if id(v) not in numbers and v.name != "seed_generator_state"
        ]


def _fall(before: float, after: float) -> float | None:
    """By how much the logarithm of the loss fell; None if it is not finite."""
    if not (math.isfinite(before) and math.isfinite(after)):
        return None
    if before > 0 and after > 0:
        return math.log(before) - math.log(after)
    return (before - after) / max(abs(before), 1e-12)
