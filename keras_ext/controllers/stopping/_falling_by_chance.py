"""Whether values fall by chance."""

import math
from collections.abc import Sequence

import numpy as np


def falling_by_chance(values: Sequence[float] | np.ndarray) -> float:
    """The probability that values in random order fall as much as these.

    The exact one-sided test of Mann and Kendall; two values that are equal count as
    half a rise.
    """
    x = np.asarray(values, "float64")
    size = len(x)
    later = np.triu(np.sign(x[None, :] - x[:, None]), 1)
    # As in the test of Mann and Kendall, a tie is half a rise.
    rises = np.sum(later > 0) + np.sum(np.triu(x[None, :] == x[:, None], 1)) / 2
    # How many orders have so many rises: each value adds from none to as many as there
    # are values before it.
    orders = np.ones(1)
    for earlier in range(1, size):
        # As probabilities: the numbers themselves grow as a factorial.
        orders = np.convolve(orders, np.ones(earlier + 1) / (earlier + 1))
    return float(orders[: math.floor(rises) + 1].sum())
