"""One strength for all, chosen among levels by what followed."""

import math
from collections import deque

import numpy as np

from keras_ext.callbacks.regularization._strategies._strategy import (
    Decision,
    Sensed,
    Strategy,
)
from keras_ext.controllers.discrete._bandit import Bandit

# The levels of strength, in shares of the span.
_LEVELS = (-0.5, 0.0, 0.5)
# Over so many epochs it is known what a usual fall of the validation loss is.
_MEMORY = 7


class ByBandit(Strategy):
    """Tries levels of strength, and keeps to those under which the loss fell more.

    Args:
        seed: The seed of the choices.
    """

    def __init__(self, seed: int | None) -> None:
        self._seed = seed
        self._last = math.nan
        self._falls: deque[float] = deque(maxlen=_MEMORY)
        self._bandit: Bandit | None = None

    def decide(self, sensed: Sensed) -> Decision:
        reward = self._reward(sensed.validation_loss)
        if sensed.warming_up:
            return Decision(None, "warm-up")
        if self._bandit is None:
            levels = [share * self.knobs.span for share in _LEVELS]
            self._bandit = Bandit(levels, forgetting=0.95, seed=self._seed)
            return Decision(self._bandit.arm, "first level")
        level = self._bandit.update(reward)
        return Decision(
            level, "bandit", f"reward {reward:.2f}", {"reward": float(reward)}
        )

    def _reward(self, validation_loss: float) -> float:
        """How much the loss fell, against how it usually does, in [0, 1]."""
        fall = math.nan
        if self._last > 0 and validation_loss > 0:
            fall = math.log(self._last / validation_loss)
        self._last = validation_loss
        if not math.isfinite(fall):
            return 0.0
        self._falls.append(fall)
        usual = float(np.median(self._falls))
        spread = float(np.median(np.abs(np.array(self._falls) - usual)))
        if spread == 0:
            return 0.5
        return min(max(0.5 + (fall - usual) / (6 * spread), 0.0), 1.0)
