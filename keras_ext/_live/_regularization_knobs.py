"""What regularizes a model, each on its own scale."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from keras_ext._core._paths import unique_path
from keras_ext._live._hyper_variable import HyperVariable
from keras_ext._live._hyperparameter import Hyperparameter

# Of each kind of hyperparameter, by its name: the smallest value that
# is not taken for 0, and the largest, None being as far as the span goes. They are on
# a log or logit scale, which never comes to 0.
_RATE = (0.01, 0.6)
_STRENGTH = (1e-7, None)
_LIMITS: dict[str, tuple[float, float | None]] = {
    **dict.fromkeys(("rate", "dropout", "recurrent_dropout"), _RATE),
    **dict.fromkeys(("l1", "l2", "factor", "weight_decay"), _STRENGTH),
    "stddev": (0.01, None),
    "label_smoothing": (0.005, 0.3),
}
# What is a part of the loss itself, and has to be out of it when it is measured.
IN_THE_LOSS = ("l1", "l2", "factor", "label_smoothing")


def regularizes(knob: Hyperparameter) -> bool:
    """Whether a hyperparameter is one of regularization."""
    return knob.name in _LIMITS


class RegularizationKnobs:
    """Hyperparameters that are moved by offsets from their first values.

    An offset is a distance on the scale of the hyperparameter, the logarithm of
    strengths and the logit of rates: 1 is 2.7 times the strength, or the odds.

    Args:
        chosen: The hyperparameters.
        live: Their live values.
        span: The offsets stay between minus this and this.
    """

    remembered: ClassVar[tuple[str, ...]] = ("first", "offsets", "_room")

    def __init__(
        self,
        chosen: Sequence[Hyperparameter],
        live: Sequence[HyperVariable],
        span: float,
    ) -> None:
        self.live: dict[str, HyperVariable] = {}
        self.kinds: dict[str, str] = {}
        for knob, value in zip(chosen, live, strict=True):
            path = unique_path(knob.path, self.live)
            self.live[path] = value
            self.kinds[path] = knob.name
        self.first = [self._position(path) for path in self.live]
        self.span = span
        self.offsets = np.zeros(len(self.live))
        self._room = np.array([self._limits(i) for i in range(len(self.first))]).T

    def _position(self, path: str) -> float:
        smallest, _ = _LIMITS[self.kinds[path]]
        live = self.live[path]
        return on_scale(max(float(live), smallest), live.scale)

    def _limits(self, i: int) -> tuple[float, float]:
        path = list(self.live)[i]
        low, high = _LIMITS[self.kinds[path]]
        scale = self.live[path].scale
        lowest = on_scale(low, scale) - self.first[i]
        # What starts above the largest value may stay there.
        highest = math.inf if high is None else on_scale(high, scale) - self.first[i]
        return lowest, max(highest, 0.0)

    def within_room(self, offsets: np.ndarray) -> np.ndarray:
        """The offsets, none further than the span and the limits of its kind."""
        return np.clip(np.clip(offsets, -self.span, self.span), *self._room)

    def to(self, offsets: np.ndarray | float) -> None:
        """Moves each by its offset from its first place.

        Args:
            offsets: An array, or one number for all.
        """
        low, _ = self._room
        self.offsets = np.broadcast_to(offsets, low.shape).astype("float64")
        for i, live in enumerate(self.live.values()):
            if self.offsets[i] > low[i]:
                live.assign_on_scale(self.positions[i])
            else:
                live.assign(0.0)

    @property
    def positions(self) -> Any:
        """The present places on the scales; that of 0 is the smallest value's."""
        return self.first + np.clip(self.offsets, *self._room)

    def values(self) -> dict[str, float]:
        """The present values by path."""
        return {path: float(live) for path, live in self.live.items()}

    def assign(self, values: dict[str, float]) -> None:
        """Sets values by path, whatever the offsets are."""
        for path, value in values.items():
            self.live[path].assign(value)

    def take_out_of_the_loss(self) -> None:
        """Sets to 0 what is added to the loss."""
        for path, live in self.live.items():
            if self.kinds[path] in IN_THE_LOSS:
                live.assign(0.0)


def on_scale(value: float, scale: str) -> float:
    """The place of a positive value on a log or logit scale."""
    return math.log(value) if scale == "log" else math.log(value / (1.0 - value))
