"""Chooses among values by what each has brought."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_ext._core._checks import checked_seed, number, require
from keras_ext._core._described import Described


class Bandit(Described):
    """Tries the values of a ladder, and prefers those that were followed by success.

    This is Exp3 with forgetting: each arm has a weight, and is drawn with a probability
    in proportion to it, mixed with `exploration`. What an arm earns is divided by its
    probability and counts in the exponent of its weight; all exponents shrink by
    `forgetting` each time, so that the choice follows when another arm becomes best.
    Nothing is assumed about the rewards but that they lie in [0, 1].

    The arms may be values (`[1e-5, 1e-4, 1e-3]`) or moves (`[-0.5, 0.0, 0.5]`).

    It needs many rewards: some ten for each arm before it prefers the best clearly. For
    a training of thirty decisions, use three arms, or `PI`.

    Args:
        arms: Two or more things to choose from, of any kind.
        learning_rate: Number > 0; how much a reward counts. Defaults to `0.2`.
        exploration: Number in (0, 1], the share of choices made at random.
            Defaults to `0.1`.
        forgetting: Number in (0, 1], what is kept of the exponents each time; 1 forgets
            nothing. Defaults to `0.98`.
        baseline: Number in [0, 1]; a reward above it speaks for an arm, one below it
            against. 0 is Exp3 as published. Defaults to `0.5`.
        seed: Integer, the seed of the draws. None means random.

    Attributes:
        arm: The arm in force: what `update` returned last.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras_ext as kx
        >>> controller = kx.controllers.Bandit(["bad", "good"], seed=0)
        >>> for _ in range(100):
        ...     arm = controller.update(float(controller.arm == "good"))
        >>> bool(controller.probabilities[1] > 0.8)
        True

    References:
        - [Auer et al., 2002](https://doi.org/10.1137/S0097539701398375)
        - [Donâncio et al., 2024](https://arxiv.org/abs/2410.12598), who choose learning
          rates so, with decaying weights
    """

    def __init__(
        self,
        arms: Sequence[Any],
        *,
        learning_rate: float = 0.2,
        exploration: float = 0.1,
        forgetting: float = 0.98,
        baseline: float = 0.5,
        seed: int | None = None,
    ) -> None:
        valid = isinstance(arms, Sequence) and len(arms) >= 2
        require(valid, "arms", arms, "a list of two or more things")
        self.arms = list(arms)
        self.learning_rate = number(learning_rate, "learning_rate", above=0)
        self.exploration = number(exploration, "exploration", above=0, high=1)
        self.forgetting = number(forgetting, "forgetting", above=0, high=1)
        self.baseline = number(baseline, "baseline", low=0, high=1)
        self.seed = checked_seed(seed)
        self._random = np.random.default_rng(self.seed)
        self._exponents = np.zeros(len(self.arms))
        self._choice = self._draw()

    @property
    def arm(self) -> Any:
        """The arm in force."""
        return self.arms[self._choice]

    @property
    def probabilities(self) -> np.ndarray:
        """The probabilities of the arms in the next draw, an array."""
        # Without the largest, `exp` could overflow.
        weights = np.exp(self._exponents - self._exponents.max())
        even = self.exploration / len(self.arms)
        return (1 - self.exploration) * weights / weights.sum() + even

    def update(self, reward: float) -> Any:
        """Takes in what the arm in force has brought, and chooses the next.

        Args:
            reward: Number, clipped to [0, 1], larger is better. One that is not a
                number (NaN) counts as 0: it is what a diverged training gives.

        Returns:
            One of `arms`.
        """
        reward = 0.0 if math.isnan(reward) else min(max(reward, 0.0), 1.0)
        # As in Exp3: divided by its probability, an arm that is drawn seldom counts as
        # much as one that is drawn often.
        gain = (reward - self.baseline) / self.probabilities[self._choice]
        self._exponents *= self.forgetting
        self._exponents[self._choice] += self.learning_rate * gain
        self._choice = self._draw()
        return self.arm

    def _draw(self) -> int:
        return int(self._random.choice(len(self.arms), p=self.probabilities))
