"""Owen values: groups of players that stay together."""

import numpy as np

from keras_ext._core._checks import require
from keras_ext.explain._methods._permutation import Permutation
from keras_ext.explain._problem import Problem


class Owen(Permutation):
    """Draws only orders in which the members of a group come one after the other.

    The players are single elements.
    """

    def __init__(self, problem: Problem) -> None:
        group = problem.group
        hint = "Pass `groups`, such as those of groups.grid, or another method."
        require(group is not None, "groups", group, 'given for method="owen"', hint)
        super().__init__(problem)
        self._group = np.asarray(group)

    def orders(self, rng: np.random.Generator, count: int) -> np.ndarray:
        # By the random rank of the group first, then by a random number.
        of_group = rng.random((count, self._group.max() + 1))[:, self._group]
        return np.lexsort((rng.random(of_group.shape), of_group), axis=1)
