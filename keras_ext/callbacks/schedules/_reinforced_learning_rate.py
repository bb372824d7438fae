"""Moves the learning rate by a policy that was learned on other trainings."""

import math
from typing import ClassVar

import numpy as np

from keras_ext._core._typing import Data
from keras_ext._fit._fit_scope import FitScope
from keras_ext.callbacks.schedules._probed_rate import ProbedRate
from keras_ext.callbacks.schedules._rate_policy import (
    Seen,
    learned_parameters,
    rate_policy,
)

_AFTER_BURST = 0.25


class ReinforcedLearningRate(ProbedRate):
    """Moves the learning rate by a policy learned on hundreds of small trainings.

    Every `every` batches a small network looks at the loss on fixed training data: how
    far it fell lately, how evenly, how far from the best it is, and how far the rate
    has moved already. It answers by how much to multiply the rate, by 2.7 or its
    inverse at most. The network is part of this library. It was trained by evolution
    strategies on noisy quadratics, softmax regressions and perceptrons, with SGD and
    with Adam, from rates of a hundredth to thirty times the best constant one. If the
    loss doubled, or is no longer finite, the weights and the state of the optimizer go
    back to where they were, and the rate is quartered.

    Use it if the order of magnitude of the rate is unknown, and start too small rather
    than too large. On real data, relative to the training loss at the best constant
    rate, it ended with 2.7 times that loss from a hundredth of the rate, where the rate
    alone ended with 17 times, and with 11 times from thirty times the rate. It works
    with any optimizer, and on top of a schedule; the loss must be positive. At the end
    of `fit` the optimizer has its own rate again.

    Logs `learning_rate_multiplier`.

    Args:
        train_data: `(x, y)` or a dataset to measure the loss on. None means rows of
            what `fit` trains on.
        every: Integer >= 1, the batches between decisions. The network was trained
            with 8, in trainings of 240 batches. Defaults to `8`.
        rollback: Whether to take back what made the loss double; it takes memory for a
            copy of the weights and of the optimizer. Defaults to `True`.
        min_multiplier: Number > 0, the smallest number to multiply by in all.
            Defaults to `0.001`.
        max_multiplier: Number > 0, the largest. Defaults to `1000.0`.
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
        >>> model.compile(keras.optimizers.SGD(1e-3), "mse")  # far too small
        >>> x = np.random.default_rng(0).normal(size=(256, 4))
        >>> reinforced = kx.callbacks.ReinforcedLearningRate(every=4)
        >>> history = model.fit(
        ...     x, x[:, :1], batch_size=8, epochs=5, callbacks=[reinforced], verbose=0
        ... )
        >>> history.history["learning_rate_multiplier"][-1] > 3
        True

    References:
        - [Daniel et al., 2016](https://ojs.aaai.org/index.php/AAAI/article/view/10187),
          who learned such a policy, by another method
        - [Salimans et al., 2017](https://arxiv.org/abs/1703.03864), evolution
          strategies
    """

    remembered: ClassVar[tuple[str, ...]] = ("_seen",)

    def __init__(
        self,
        train_data: Data = None,
        *,
        every: int = 8,
        rollback: bool = True,
        min_multiplier: float = 1e-3,
        max_multiplier: float = 1e3,
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
        self._policy = rate_policy(learned_parameters())

    def attach(self, scope: FitScope) -> None:
        super().attach(scope)
        # Filled when training begins, or goes on.
        self._seen = Seen(np.zeros(1))

    def first_factor(self, loss: float) -> float:
        self._seen = Seen(np.array([_logarithm(loss)]))
        return 1.0

    def next_factor(self, fall: float, loss: float) -> float:
        return math.exp(self._answer(_logarithm(loss), burst=False))

    def multiplier_after_burst(self, before: float) -> float:
        return self.multiplier  # As where the policy was learned.

    def factor_after_burst(self) -> float:
        self._answer(float(self._seen.loss[0]), burst=True)
        return _AFTER_BURST

    def _answer(self, loss: float, burst: bool) -> float:
        moved = np.array([math.log(self.multiplier)])
        features = self._seen.features(np.array([loss]), np.array([burst]), moved)
        return float(self._policy(features)[0])


def _logarithm(loss: float) -> float:
    return math.log(max(loss, 1e-30)) if math.isfinite(loss) else 0.0
