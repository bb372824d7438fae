"""What a model expects of configurations, and which of them promise most."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_ext.tuner._encoded_space import EncodedSpace
from keras_ext.tuner._gaussian_process import GaussianProcess, log_expected_improvement

# More rows would make a proposal slow: the best half of these stay, and some others.
_MOST = 250
# How far worse than the median costs may be, in distances of the best from it: how bad
# the bad ones are must not hide how the good ones differ.
_WORST = 2.0
# Candidates: drawn anywhere, and around each of the best five configurations; then
# around each of the best three candidates, nearer and nearer.
_DRAWN, _EACH, _FAR = 150, 10, (0.3, 0.1, 0.03)
_REFINED, _NEAR = 30, (0.1, 0.05, 0.02, 0.01)


class Row(NamedTuple):
    """The best cost of a configuration after some epochs."""

    place: np.ndarray
    epochs: int
    cost: float


class Surrogate:
    """A Gaussian process of costs by configuration and by the logarithm of epochs.

    Args:
        space: Where the configurations are.
        rows: What is known, at least one row.
    """

    def __init__(self, space: EncodedSpace, rows: Sequence[Row]) -> None:
        self.space = space
        longest = max(row.epochs for row in rows)
        rows = _few(rows)
        self._places = np.array([row.place for row in rows])
        shares = np.array([row.epochs / longest for row in rows])
        # From 0, a single epoch, to 1.
        lengths = 1 + np.log(shares) / math.log(max(longest, 2))
        self._x = self._inputs(self._places, lengths)
        self._y = _normalized(np.array([row.cost for row in rows]))
        self._groups: np.ndarray = np.append(space.groups, len(space.searched))

    @property
    def number_of_parameters(self) -> int:
        return len(self.space.searched) + 2

    @property
    def parameters(self) -> list[float]:
        return self._process.parameters.tolist()

    def _inputs(self, places: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        return np.column_stack([self.space.features(places), lengths])

    def fit(self, parameters: Sequence[float] | None, *, again: bool = True) -> None:
        """Learns from what is known.

        Args:
            parameters: Those of an earlier model, or None.
            again: Whether better ones are looked for.
        """
        given = None if parameters is None else np.array(parameters)
        self._process = GaussianProcess(self._groups, given)
        if again:
            self._process.fit(self._x, self._y)
        self._process.condition(self._x, self._y)
        self._tried = np.unique(self._places, axis=0)
        self._means, _ = self.predict(self._tried)
        # What was reached by luck has to be beaten as well.
        self._best = min(self._means.min(), self._y.min())

    def expect(self, places: Sequence[np.ndarray]) -> None:
        """Takes what runs to reach what it is expected to: others look elsewhere."""
        if not len(places):
            return
        x = self._inputs(np.array(places), np.ones(len(places)))
        means, _ = self._process.predict(x)
        self._process.condition(np.vstack([self._x, x]), np.append(self._y, means))

    def predict(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation after as many epochs as the longest training had."""
        return self._process.predict(self._inputs(places, np.ones(len(places))))

    def candidates(self, random: np.random.Generator) -> np.ndarray:
        """Places that were not told, the most promising first."""
        size = (_DRAWN, len(self.space.searched))
        good = self._tried[np.argsort(self._means)[:5]]
        around = [
            self.space.near(place, _EACH, scale, random)
            for scale in _FAR
            for place in good
        ]
        places = np.concatenate([random.random(size), *around])
        gains = self._gains(places)
        for scale in _NEAR:
            tops = places[np.argsort(-gains)[:3]]
            refined = [self.space.near(top, _REFINED, scale, random) for top in tops]
            more = np.concatenate(refined)
            places = np.concatenate([places, more])
            gains = np.append(gains, self._gains(more))
        return places[np.argsort(-gains)]

    def _gains(self, places: np.ndarray) -> np.ndarray:
        return log_expected_improvement(*self.predict(places), self._best)


def _few(rows: Sequence[Row]) -> list[Row]:
    """All rows, or of more than the model takes the best and some of the others."""
    if len(rows) <= _MOST:
        return list(rows)
    ranked = sorted(rows, key=lambda row: row.cost)
    best, others = ranked[: _MOST // 2], ranked[_MOST // 2 :]
    chosen = np.linspace(0, len(others) - 1, _MOST - len(best)).astype(int)
    return best + [others[i] for i in chosen]


def _normalized(costs: np.ndarray) -> np.ndarray:
    """Costs with mean 0 and deviation 1, of which the worst are cut."""
    middle = np.median(costs)
    cut = np.minimum(costs, middle + _WORST * (middle - costs.min()))
    return (cut - cut.mean()) / (cut.std() or 1.0)
