"""Who plays: which elements of the inputs come and go together."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from keras_ext._core._checks import require
from keras_ext._core._typing import Data
from keras_ext.explain._inputs import Inputs

_FORMS = (
    "None, an integer array of the shape of one row, a dictionary from the names of "
    "several inputs to such arrays, or one from names of groups to lists of features"
)

# Which elements come and go together, see `Players`.
Groups: TypeAlias = np.ndarray | Mapping[str, np.ndarray | Sequence[int | str]] | None


class Players:
    """The players of the game: single elements, or groups of them.

    Args:
        inputs: The layout of the inputs.
        groups: None, if each element is a player. An integer array of the shape of a
            row, with equal numbers for the elements of a group. A dictionary from the
            names of inputs to such arrays, where equal numbers in different inputs are
            different groups; an input that is left out is a group of its own. Or a
            dictionary from names of groups to lists of features, by name or number;
            features in none are groups of their own.
        names: The names of the elements.
        last_axis: The names of the last axis of the only input, if it has names.

    Attributes:
        of_element: For each element, the number of its player.
        names: The names of the players.
        are_elements: Whether each element is a player.

    Raises:
        ValueError: If `groups` is of none of these forms.
    """

    def __init__(
        self,
        inputs: Inputs,
        groups: Groups,
        names: Sequence[str],
        last_axis: Sequence[str] | None = None,
    ) -> None:
        self.are_elements = groups is None
        self.last_axis = last_axis
        if groups is None:
            self.of_element = np.arange(inputs.num_elements)
            self.names = list(names)
        elif isinstance(groups, Mapping) and not set(groups) <= set(inputs.names):
            self.of_element, self.names = _named(groups, names)
        else:
            labels = (
                groups if isinstance(groups, Mapping) else {inputs.names[0]: groups}
            )
            self.of_element, self.names = _labelled(labels, inputs, groups)

    @property
    def count(self) -> int:
        """How many players there are."""
        return len(self.names)

    def of_part(self, inputs: Inputs) -> list[np.ndarray]:
        """The players of the elements of each part."""
        return inputs.split(self.of_element, axis=0)

    def total(self, values: np.ndarray) -> np.ndarray:
        """Sums `(rows, elements, outputs)` to `(rows, players, outputs)`."""
        if self.are_elements:
            return values
        sums = np.zeros((len(values), self.count, *values.shape[2:]), values.dtype)
        # `sums[:, of_element] += values` would keep only the last element of a player.
        np.add.at(sums, (slice(None), self.of_element), values)
        return sums

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Divides what `(rows, players, ...)` have evenly among their elements."""
        sizes = np.bincount(self.of_element, minlength=self.count)
        share = values / sizes.reshape(1, -1, *[1] * (values.ndim - 2))
        return share[:, self.of_element]

    def changed(
        self, x: Sequence[np.ndarray], background: Sequence[np.ndarray], inputs: Inputs
    ) -> np.ndarray:
        """Which players differ between rows and background: `(rows, N, players)`."""
        differs: np.ndarray = np.zeros(
            (len(x[0]), len(background[0]), self.count), bool
        )
        for part, other, of in zip(x, background, self.of_part(inputs), strict=True):
            unequal = part[:, None] != other[None]
            if self.are_elements:
                differs[..., of] = unequal
            else:
                # `differs[..., of] |= unequal` would keep only the last element of a
                # player.
                for element, player in enumerate(of):
                    differs[..., player] |= unequal[..., element]
        return differs


def _labelled(
    labels: Mapping[str, Data], inputs: Inputs, groups: object
) -> tuple[np.ndarray, list[str]]:
    of_element: list[np.ndarray] = []
    names: list[str] = []
    for part, shape in zip(inputs.names, inputs.shapes, strict=True):
        own = np.asarray(labels.get(part, np.zeros(shape, int)))
        valid = own.shape == shape and own.dtype.kind in "iu"
        require(valid, "groups", groups, f"{_FORMS}; rows have the shape {shape}")
        values, numbers = np.unique(own, return_inverse=True)
        of_element.append(numbers.ravel() + len(names))
        prefix = "group" if inputs.is_single else part
        # An input that is one group is known by its name.
        several = inputs.is_single or len(values) > 1
        names += [f"{prefix} {v}" for v in values] if several else [part]
    return np.concatenate(of_element), names


def _named(
    groups: Mapping[str, Any], features: Sequence[str]
) -> tuple[np.ndarray, list[str]]:
    of_element = np.full(len(features), -1)
    index = {name: i for i, name in enumerate(features)}
    for player, members in enumerate(groups.values()):
        valid = isinstance(members, list | tuple | range | np.ndarray)
        require(valid and len(members) > 0, "groups", groups, _FORMS)
        for member in members:
            place = index.get(member, member)
            valid = place in range(len(features)) and of_element[place] < 0
            rule = "of features that there are, each in one group"
            require(valid, "groups", member, rule)
            of_element[place] = player
    names = [str(name) for name in groups]
    for place in np.flatnonzero(of_element < 0):
        of_element[place] = len(names)
        names.append(features[int(place)])
    return of_element, names
