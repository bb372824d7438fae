"""Hyperparameters as numbers that a model can compare."""

import math
from collections.abc import Mapping, Sequence

import keras_tuner
import numpy as np
from keras_tuner.engine import hyperparameters as kinds

from keras_ext.tuner._stored_oracle import Value, active_in

# Below 1, which is no place of KerasTuner.
_LAST = 1 - 1e-9
_MIDDLE = 0.5


class EncodedSpace:
    """A space as a cube: each hyperparameter that is searched has a place in [0, 1).

    The features of places are what a model sees: those of values, not of places, which
    may be many for one value; a column for each value of what has no order; and the
    middle for what is not active, so that it makes no difference.

    Args:
        space: The hyperparameters, parents before what depends on them.

    Attributes:
        searched: Those that are not fixed.
        groups: Integers, of each feature the number of its hyperparameter.
    """

    def __init__(self, space: Sequence[kinds.HyperParameter]) -> None:
        self.space = list(space)
        self.searched: list[kinds.HyperParameter] = [
            hp for hp in space if not isinstance(hp, kinds.Fixed)
        ]
        self.counts = [_number_of_values(hp) for hp in self.searched]
        self.ordered = np.array([_has_order(hp) for hp in self.searched], bool)
        widths = [
            1 if ordered or count is None else count
            for ordered, count in zip(self.ordered, self.counts, strict=True)
        ]
        self.groups: np.ndarray = np.repeat(np.arange(len(widths)), widths)

    def values(self, places: np.ndarray) -> dict[str, Value]:
        """The values at a place, of what is active alone."""
        by_part = dict(zip(map(id, self.searched), places, strict=True))
        found = keras_tuner.HyperParameters()
        for hp in self.space:
            found.merge([hp])
            if not found.is_active(hp):
                continue
            is_fixed = isinstance(hp, kinds.Fixed)
            where = 0.0 if is_fixed else min(float(by_part[id(hp)]), _LAST)
            found.values[hp.name] = hp.value if is_fixed else hp.prob_to_value(where)
        return found.values

    def places(self, values: Mapping[str, Value]) -> np.ndarray:
        """Where values are, and the middle for what has none."""
        active = active_in(self.space, values)
        has = [hp.name in values and active.get(hp.name) is hp for hp in self.searched]
        return np.array(
            [
                hp.value_to_prob(values[hp.name]) if there else _MIDDLE
                for hp, there in zip(self.searched, has, strict=True)
            ]
        )

    def features(self, places: np.ndarray) -> np.ndarray:
        """What a model sees of each row of places."""
        columns: list[np.ndarray] = []
        seen: dict[str, np.ndarray] = {}
        parents = {c.name for hp in self.space for c in hp.conditions}
        numbers = {id(hp): i for i, hp in enumerate(self.searched)}
        for hp in self.space:
            active = _active(hp, seen, len(places))
            number = numbers.get(id(hp))
            where = np.zeros(len(places)) if number is None else places[:, number]
            if hp.name in parents:
                # The name may be there twice, under conditions that exclude each other.
                before = seen.get(hp.name, np.full(len(places), None))
                own = np.array([_value(hp, place) for place in where], object)
                seen[hp.name] = np.where(active, own, before)
            if number is not None:
                columns.append(self._columns(number, where, active))
        return np.concatenate(columns, axis=1)

    def _columns(
        self, number: int, where: np.ndarray, active: np.ndarray
    ) -> np.ndarray:
        hp, count = self.searched[number], self.counts[number]
        if count is None:
            return np.where(active, _rounded(hp, where), _MIDDLE)[:, None]
        index = np.minimum((where * count).astype(int), count - 1)
        if self.ordered[number]:
            return np.where(active, (index + 0.5) / count, _MIDDLE)[:, None]
        # Two different values are as far from each other as the ends of a range.
        return (np.eye(count)[index] * active[:, None]) / math.sqrt(2)

    def near(
        self, place: np.ndarray, count: int, scale: float, random: np.random.Generator
    ) -> np.ndarray:
        """Places around one, of which about half of the hyperparameters are moved."""
        size = (count, len(place))
        moves = random.random(size) < 0.5
        moves[np.arange(count), random.integers(len(place), size=count)] = True
        steps = np.abs(place + scale * random.standard_normal(size))
        mirrored = 1 - np.abs(1 - steps % 2)  # back at the edges
        moved = np.where(self.ordered, mirrored, random.random(size))
        return np.minimum(np.where(moves, moved, place), _LAST)


def _number_of_values(hp: kinds.HyperParameter) -> int | None:
    """How many values there are, or None where every place is another."""
    if isinstance(hp, kinds.Choice | kinds.Boolean):
        return len(list(hp.values))
    if hp.step is None:
        return None
    if hp.sampling == "linear":  # there may be too many to list them
        return int((hp.max_value - hp.min_value) // hp.step) + 1
    return len(list(hp.values))


def _has_order(hp: kinds.HyperParameter) -> bool:
    if isinstance(hp, kinds.Choice):
        return bool(hp.ordered)
    return not isinstance(hp, kinds.Boolean)


def _active(
    hp: kinds.HyperParameter, seen: Mapping[str, np.ndarray], count: int
) -> np.ndarray:
    """In which rows it is, by the values of its parents."""
    active: np.ndarray = np.ones(count, bool)
    for condition in hp.conditions:
        values = list(condition.values)
        parent = seen.get(condition.name, [None] * count)
        active &= np.array([value in values for value in parent], bool)
    return active


def _value(hp: kinds.HyperParameter, place: float) -> Value:
    return hp.value if isinstance(hp, kinds.Fixed) else hp.prob_to_value(place)


def _rounded(hp: kinds.HyperParameter, where: np.ndarray) -> np.ndarray:
    """Places of the values that integers on a scale of logarithms are cut to."""
    if not isinstance(hp, kinds.Int) or hp.sampling != "log":
        return where
    width = math.log((hp.max_value + 1) / hp.min_value)
    values = np.floor(hp.min_value * np.exp(where * width) + 1e-9)
    return np.log((values + 0.5) / hp.min_value) / width
