"""Finds a learning rate while training, by trial and with a way back."""

import statistics
from collections.abc import Sequence
from typing import ClassVar

from keras_ext._core._checks import checked_seed, is_number, require
from keras_ext._core._typing import Data
from keras_ext._fit._fit_scope import FitScope
from keras_ext.callbacks.schedules._probed_rate import ProbedRate
from keras_ext.controllers import Bandit

_ARMS = (0.25, 0.5, 1.0, 2.0, 4.0)
# Of the bandit, as published for learning rates.
_EXPLORATION, _FORGETTING = 0.15, 0.95
_FEWEST, _MEMORY = 3, 20


class BanditLearningRate(ProbedRate):
    """Tries factors on the learning rate, and prefers those that made the loss fall.

    Every `every` batches an arm of a bandit, a factor, multiplies the learning rate.
    Then the loss on fixed training data gives the reward: by how much its logarithm
    fell, relative to the usual size of such changes. If the loss doubled, or is no
    longer finite, weights and optimizer state go back to where they were, and so does
    the rate if it was raised. So it recovers from a rate that is far too small. It may
    not recover from one that is far too large, if the first steps ruin the weights, and
    it does not beat a well-tuned schedule. It works with any optimizer, and on top of a
    schedule. At the end of `fit` the optimizer has its own rate again.

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

    remembered: ClassVar[tuple[str, ...]] = ("_bandit", "_changes")

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
            train_data,
            every=every,
            rollback=rollback,
            min_multiplier=min_multiplier,
            max_multiplier=max_multiplier,
            verbose=verbose,
        )
        valid = isinstance(arms, list | tuple) and len(arms) >= 2
        valid = valid and all(is_number(a) and a > 0 for a in arms)
        require(valid, "arms", arms, "a list of two or more numbers > 0")
        self.arms = list(arms)
        self.seed = checked_seed(seed)

    def attach(self, scope: FitScope) -> None:
        super().attach(scope)
        self._bandit = Bandit(
            self.arms,
            exploration=_EXPLORATION,
            forgetting=_FORGETTING,
            seed=self.seed,
        )
        self._changes: list[float] = []

    def first_factor(self, loss: float) -> float:
        return float(self._bandit.arm)

    def factor_after_burst(self) -> float:
        return float(self._bandit.update(0.0))

    def next_factor(self, fall: float, loss: float) -> float:
        self._changes = [*self._changes, fall][-_MEMORY:]
        return float(self._bandit.update(self._reward(fall)))

    def _reward(self, change: float) -> float:
        """A half for the change that is usual, of those before."""
        if len(self._changes) < _FEWEST:
            return 0.5
        middle = statistics.median(self._changes)
        # Medians, since a burst would blow up a standard deviation.
        spread = statistics.median(abs(c - middle) for c in self._changes)
        return 0.5 + 0.5 * (change - middle) / max(3 * spread, 1e-12)
