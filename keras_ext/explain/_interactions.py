"""Shapley interaction values: what two players have together, and not each alone."""

from collections.abc import Callable
from math import comb

import numpy as np

from keras_ext._core._checks import require
from keras_ext.explain._coalitions import Coalitions
from keras_ext.explain._methods._exact import (
    MOST_PLAYERS,
    active_players,
    shapley_operator,
)
from keras_ext.explain._problem import Problem, Rows


def interaction_values(
    problem: Problem, rows: Rows, progress: Callable[[int, int], None]
) -> np.ndarray:
    """Goes through all coalitions of players.

    The Shapley interaction index of two players is divided in halves; on the diagonal
    stands what is left of the Shapley value of each, so that rows of the matrix add up
    to these.

    Args:
        problem: The problem, of up to 16 players.
        rows: The rows.
        progress: Called with how much is done, and of how much.

    Returns:
        `(rows, players, players, k)`, symmetric in the players.

    Raises:
        ValueError: If there are more players.
    """
    count = problem.players.count
    hint = "Pass `groups` with fewer of them."
    require(count <= MOST_PLAYERS, "players", count, f"<= {MOST_PLAYERS}", hint)
    active = active_players(problem, rows)
    subsets, weights = shapley_operator(len(active))
    coalitions: np.ndarray = np.zeros((len(subsets), count), bool)
    coalitions[:, active] = subsets
    values = Coalitions(problem).values(rows.parts, rows.which, coalitions, progress)
    found = np.zeros((len(values), count, count, values.shape[2]))
    for place, player in enumerate(active):
        together = _halves(subsets, place)
        found[:, player, active] = np.einsum("ps,rsk->rpk", together, values)
    alone = np.einsum("ps,rsk->rpk", weights, values)
    found[:, active, active] = alone - found[:, active].sum(axis=2)
    return found


def _halves(subsets: np.ndarray, player: int) -> np.ndarray:
    """What turns the values of coalitions into a player's interactions, `(P, 2**P)`.

    Half of what two players gain together beyond their gains alone, weighted by the
    size `s` of the coalition that they join: `s! (P - s - 2)! / (P - 1)!`.
    """
    count = subsets.shape[1]
    if count == 1:  # nobody to gain with
        return np.zeros((1, len(subsets)))
    # How many of the two are in the coalition, and how large it is without them.
    own, other = subsets[:, player, None], subsets
    both = own.astype(int) + other
    size = subsets.sum(axis=1, keepdims=True) - both
    # s! (P - s - 2)! / (P - 1)! is 1 / ((P - 1) C(P - 2, s)), and of that one half.
    weight = np.array(
        [0.5 / ((count - 1) * comb(count - 2, s)) for s in range(count - 1)]
    )
    # v(S + both) - v(S + one) - v(S + other) + v(S).
    signed = np.where(both == 1, -1.0, 1.0) * weight[np.clip(size, 0, count - 2)]
    signed[:, player] = 0.0  # with itself
    return signed.T
