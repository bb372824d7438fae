"""Which of several trials are better, when there are several objectives."""

from collections.abc import Sequence

import numpy as np


def front_numbers(costs: Sequence[Sequence[float]]) -> list[int]:
    """The front of each point: 0 if none beats it, 1 if only those of front 0 do, ...

    A point beats another if it is no worse in all costs and better in one.

    Examples:
        >>> from keras_ext.tuner._pareto import front_numbers
        >>> front_numbers([[1, 4], [3, 3], [2, 2], [4, 1]])
        [0, 1, 0, 0]
    """
    points = np.asarray(costs, float).reshape(len(costs), -1 if len(costs) else 0)
    no_worse = np.all(points[:, None] <= points[None], axis=-1)
    better = np.any(points[:, None] < points[None], axis=-1)
    # Whether i beats j: `(points, points)`.
    beats = no_worse & better
    fronts = np.full(len(points), -1)
    number = 0
    while np.any(fronts < 0):
        left = fronts < 0
        unbeaten = left & ~np.any(beats & left[:, None], axis=0)
        fronts[unbeaten] = number
        number += 1
    return [int(front) for front in fronts]


def rank_sums(costs: Sequence[Sequence[float]]) -> list[int]:
    """The sum over the objectives of how many points are better: free of their units.

    Examples:
        >>> from keras_ext.tuner._pareto import rank_sums
        >>> rank_sums([[1, 4000], [2, 2000], [4, 1000]])
        [2, 2, 2]
    """
    points = np.asarray(costs, float).reshape(len(costs), -1 if len(costs) else 0)
    return [int(n) for n in np.sum(points[:, None] > points[None], axis=(1, 2))]
