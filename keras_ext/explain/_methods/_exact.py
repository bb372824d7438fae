"""Shapley values by going through all coalitions."""

from collections.abc import Callable
from math import comb

import numpy as np

from keras_ext._core._checks import require
from keras_ext.explain._coalitions import Coalitions
from keras_ext.explain._problem import Attribution, Problem, Rows

MOST_PLAYERS = 16


class Exact:
    """Evaluates all coalitions; the result has no error but that of rounding."""

    def __init__(self, problem: Problem) -> None:
        count = problem.players.count
        hint = 'Pass `groups`, or method="permutation".'
        require(count <= MOST_PLAYERS, "players", count, f"<= {MOST_PLAYERS}", hint)
        self.problem = problem
        self.coalitions = Coalitions(problem)

    def __call__(
        self,
        rows: Rows,
        budget: int | None,
        tolerance: float | None,
        progress: Callable[[int, int], None],
    ) -> Attribution:
        active = active_players(self.problem, rows)
        subsets, weights = shapley_operator(len(active))
        players: np.ndarray = np.zeros((len(subsets), self.problem.players.count), bool)
        players[:, active] = subsets
        values = self.coalitions.values(rows.parts, rows.which, players, progress)
        result = np.zeros((len(values), self.problem.players.count, values.shape[2]))
        result[:, active] = np.einsum("ps,rsk->rpk", weights, values, optimize=True)
        return Attribution(result)


def active_players(problem: Problem, rows: Rows) -> np.ndarray:
    """Who differs from the background anywhere; the value of the others is 0."""
    players, inputs = problem.players, problem.inputs
    changed: np.ndarray = np.zeros(players.count, bool)
    for row in range(len(rows.which)):
        one = [part[row : row + 1] for part in rows.parts]
        changed |= players.changed(one, problem.background, inputs).any(axis=(0, 1))
        if changed.all():
            break
    return np.flatnonzero(changed)


def shapley_operator(count: int) -> tuple[np.ndarray, np.ndarray]:
    """All coalitions, and the matrix that turns their values into Shapley values.

    A coalition of `s` of `P` players adds `(s - 1)! (P - s)! / P!` times its value to
    each of its members, and takes `s! (P - s - 1)! / P!` times it from all others.

    Returns:
        `(2**P, P)` of bool, and `(P, 2**P)`.
    """
    numbers = np.arange(2**count)
    subsets = (numbers[:, None] >> np.arange(count)) & 1 == 1
    sizes = subsets.sum(axis=1)
    # The weights as 1 / (s C(P, s)) and 1 / ((P - s) C(P, s)). The zeros are for the
    # coalitions of nobody and of all, which have no members, or leave nobody out.
    inside = np.array([0.0] + [1 / (s * comb(count, s)) for s in range(1, count + 1)])
    outside = np.array(
        [1 / ((count - s) * comb(count, s)) for s in range(count)] + [0.0]
    )
    signed = np.where(subsets, inside[sizes][:, None], -outside[sizes][:, None])
    return subsets, signed.T
