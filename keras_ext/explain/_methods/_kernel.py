"""Shapley values by a weighted regression on coalitions (Kernel SHAP)."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np

from keras_ext._core._checks import require
from keras_ext.explain._coalitions import Coalitions
from keras_ext.explain._problem import Attribution, Problem, Rows


class Kernel:
    """Draws coalitions with their complements, and solves for all rows at once.

    Every size of coalition gets an equal part of the budget, as the leverage scores of
    the regression have it; sizes with few coalitions are gone through completely.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.coalitions = Coalitions(problem)

    def __call__(
        self,
        rows: Rows,
        budget: int | None,
        tolerance: float | None,
        progress: Callable[[int, int], None],
    ) -> Attribution:
        players, n = self.problem.players.count, self.problem.num_background
        # As many as shap draws.
        num = 2 * players + 2048 if budget is None else budget // n
        least = f">= {2 * players * n}, twice the players times the background rows"
        require(num >= 2 * players, "budget", budget, least)
        if players == 1:  # between nobody and all there is no coalition to draw
            gain = rows.explained - rows.explained_background.mean(axis=1)
            return Attribution(gain[:, None], np.zeros_like(gain[:, None]))
        while True:
            sample = draw(players, num, np.random.default_rng(self.problem.seed))
            values, error = self._solve(rows, sample, progress)
            done = sample.is_complete or tolerance is None
            if done or not (error > tolerance).any():
                return Attribution(values, error)
            num *= 2

    def _solve(
        self, rows: Rows, sample: "Sample", progress: Callable[[int, int], None]
    ) -> tuple[np.ndarray, np.ndarray]:
        base = rows.explained_background.mean(axis=1)
        # Shapley values depend on v(S) - v(rest) alone, which each pair gives.
        both = np.concatenate([sample.members, ~sample.members])
        values = self.coalitions.values(rows.parts, rows.which, both, progress)
        values -= base[:, None]
        operator, share = regression(both, np.tile(sample.weights / 2, 2))
        result = np.einsum("ps,rsk->rpk", operator, values, optimize=True)
        result += share[:, None] * (rows.explained - base)[:, None]
        residual = values - np.einsum("sp,rpk->rsk", both, result, optimize=True)
        return result, sample.error(operator, residual)


@dataclass(frozen=True)
class Sample:
    """Drawn coalitions; the complement of each belongs to it.

    Attributes:
        members: `(pairs, players)` of bool.
        weights: The weight of each pair in the regression.
        counts: How often each was drawn.
        stratum: The size of the smaller coalition of each pair.
        complete: Of each stratum, whether it has all coalitions of its sizes.
    """

    members: np.ndarray
    weights: np.ndarray
    counts: np.ndarray
    stratum: np.ndarray
    complete: dict[int, bool]

    @property
    def is_complete(self) -> bool:
        """Whether all coalitions are there."""
        return all(self.complete.values())

    def error(self, operator: np.ndarray, residual: np.ndarray) -> np.ndarray:
        """The standard errors, `(rows, players, k)`, from what the regression leaves.

        A pair adds to the solution what the operator makes of its residuals. That
        varies by chance within the sizes that were drawn from.
        """
        rows, _, k = residual.shape
        variance = np.zeros((len(operator), rows * k))
        first, second = np.split(operator, 2, axis=1)
        r, s = (
            np.moveaxis(half, 1, 0).reshape(len(self.members), -1)
            for half in np.split(residual, 2, axis=1)
        )
        for size, complete in self.complete.items():
            if complete:
                continue
            own = self.stratum == size
            a, b, x, y = first[:, own], second[:, own], r[own], s[own]
            counts = self.counts[own]
            drawn = counts.sum()
            squares = (a**2 / counts) @ x**2 + (b**2 / counts) @ y**2
            squares += 2 * (a * b / counts) @ (x * y)
            spread = squares - (a @ x + b @ y) ** 2 / drawn
            variance += np.maximum(spread, 0) * drawn / max(drawn - 1, 1)
        # As many residuals as there are players are gone, since the solution fits.
        pairs, players = self.members.shape
        variance *= pairs / max(pairs - players, 1)
        return np.moveaxis(np.sqrt(variance).reshape(-1, rows, k), 0, 1)


def draw(players: int, num: int, rng: np.random.Generator) -> Sample:
    """Draws about `num` coalitions, other than those of nobody and of all."""
    sizes = list(range(1, players // 2 + 1))
    total = {size: _pairs(players, size) for size in sizes}
    quota = _quota(total, num // 2)
    members, weights, counts, stratum = [], [], [], []
    for size in sizes:
        if quota[size] == total[size]:
            own = _all_subsets(players, size)
            often: np.ndarray = np.ones(len(own), int)
        else:
            # In a random permutation exactly `size` places have a number below `size`.
            random = np.argsort(rng.random((quota[size], players)), axis=1) < size
            own, often = np.unique(_canonical(random), axis=0, return_counts=True)
        # (P - 1) / (C(P, s) s (P - s)) for each, times the C(P, s) there are.
        weight = (players - 1) / (size * (players - size))
        # A pair stands for two sizes, unless both are half of the players.
        weight *= 1 if 2 * size == players else 2
        members.append(own)
        weights.append(weight * often / often.sum())
        counts.append(often)
        stratum.append(np.full(len(own), size))
    complete = {size: quota[size] == total[size] for size in sizes}
    return Sample(
        np.concatenate(members),
        np.concatenate(weights),
        np.concatenate(counts),
        np.concatenate(stratum),
        complete,
    )


def _pairs(players: int, size: int) -> int:
    """How many pairs of a coalition of this size and its complement there are."""
    return comb(players, size) // (2 if 2 * size == players else 1)


def _quota(total: dict[int, int], pairs: int) -> dict[int, int]:
    """Divides the pairs evenly among the sizes, what is left over among the rest."""
    quota: dict[int, int] = {}
    left = pairs
    # From the fewest, so that what they do not need goes to the others.
    for i, size in enumerate(sorted(total, key=lambda s: total[s])):
        share = max(1, left // (len(total) - i))
        quota[size] = min(share, total[size])
        left -= quota[size]
    return quota


def _all_subsets(players: int, size: int) -> np.ndarray:
    chosen = np.array(list(combinations(range(players), size)))
    members: np.ndarray = np.zeros((len(chosen), players), bool)
    np.put_along_axis(members, chosen, True, axis=1)
    return np.unique(_canonical(members), axis=0)


def _canonical(members: np.ndarray) -> np.ndarray:
    """Of two halves that are complements, always the one with the first player."""
    half = 2 * members.sum(axis=1) == members.shape[1]
    flip = half & ~members[:, 0]
    return members ^ flip[:, None]


def regression(
    members: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted least squares whose solutions add up to a given sum, in closed form.

    Args:
        members: `(S, P)`, who is in the coalitions.
        weights: Their weights.

    Returns:
        The matrix `(P, S)` that acts on the values less the base, and the vector that
        acts on the value of all less the base.
    """
    z: np.ndarray = members.astype("float64")
    inverse = np.linalg.pinv((z * weights[:, None]).T @ z, hermitian=True)
    operator = inverse @ (z * weights[:, None]).T
    ones = inverse.sum(axis=1)
    # By a Lagrange multiplier: what the sum is off by is divided among the players.
    share = ones / ones.sum()
    return operator - np.outer(share, operator.sum(axis=0)), share
