"""Integrals with as many nodes as it takes until the values add up."""

from collections.abc import Callable

import numpy as np

from keras_ext.explain._problem import Attribution, Rows
from keras_ext.explain._trust import matters

# With 8, attention and recurrent layers miss the sum by 1e-4 and more.
_FIRST = 16


def until_complete(
    explain: Callable[[np.ndarray, int], np.ndarray],
    rows: Rows,
    most: int,
    allowed: float | np.ndarray,
    progress: Callable[[int, int], None],
) -> Attribution:
    """Doubles the nodes for the rows whose values do not add up yet.

    Args:
        explain: Gives the values `(rows, players, k)` of some rows, by their numbers,
            with so many nodes.
        rows: All rows.
        most: The largest number of nodes. The little that is missing then is divided
            in proportion to the values; if it matters, it is left out.
        allowed: What may be missing, a number or `(rows, k)`.
        progress: Called with how many rows are done, and of how many.
    """
    count = len(rows.which)
    wanted = rows.explained - rows.explained_background.mean(axis=1)
    allowed = np.broadcast_to(allowed, wanted.shape)
    nodes = min(_FIRST, most)
    going_on = np.arange(count)
    values = explain(going_on, nodes)
    while nodes < most:
        gap = np.abs(values.sum(axis=1) - wanted)
        going_on = np.flatnonzero((gap > allowed).any(axis=1))
        progress(count - len(going_on), count)
        if len(going_on) == 0:
            break
        nodes = min(2 * nodes, most)
        values[going_on] = explain(going_on, nodes)
    return completed(values, np.abs(values), wanted, output_scale(rows))


def output_scale(rows: Rows) -> np.ndarray:
    """How large the outputs are, `(rows, k)`."""
    return np.abs(rows.explained_background).max(axis=1) + np.abs(rows.explained)


def gauss_nodes(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss's nodes between 0 and 1, and their weights, in float32."""
    t, weights = np.polynomial.legendre.leggauss(count)
    return ((t + 1) / 2).astype("float32"), (weights / 2).astype("float32")


def completed(
    values: np.ndarray,
    shares: np.ndarray,
    sums: np.ndarray,
    scale: np.ndarray,
    chance: float | np.ndarray = 0.0,
    error: np.ndarray | None = None,
) -> Attribution:
    """Makes values add up, changing each by its share, unless too much is missing.

    Args:
        values: `(rows, players, k)`.
        shares: What each gets of what is missing, relative to the others.
        sums: What they should add up to, `(rows, k)`.
        scale: How large the outputs are, `(rows, k)`.
        chance: How much may be missing by chance, `(rows, k)`.
        error: The standard error of the values.
    """
    gap = sums - values.sum(axis=1)
    is_left = matters(gap, values, scale, chance)
    total = shares.sum(axis=1, keepdims=True)
    part = np.divide(shares, total, out=np.zeros_like(shares), where=total > 0)
    spread = part * np.where(is_left, 0.0, gap)[:, None]
    return Attribution(values + spread, error, gap, is_left)
