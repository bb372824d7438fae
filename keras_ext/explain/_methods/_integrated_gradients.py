"""Integrated gradients from each background row, with as many nodes as it takes."""

from collections.abc import Callable

import numpy as np

from keras_ext.explain._paths import Paths, complete
from keras_ext.explain._problem import Attribution, Problem, Rows

_FIRST, _MOST = 16, 1024
# What may be missing of the difference of the outputs, relative to them.
_MISSING = 1e-3


class IntegratedGradients:
    """Integrates along the lines from the background, by Gauss's rule.

    The number of nodes is doubled until the sum is the difference of the outputs, or
    nearly so: the rest is divided in proportion. ReLUs make kinks that no rule for
    smooth functions gets over exactly.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.paths = Paths(problem)

    def __call__(
        self,
        rows: Rows,
        budget: int | None,
        tolerance: float | None,
        progress: Callable[[int, int], None],
    ) -> Attribution:
        n, count = self.problem.num_background, len(rows.which)
        most = _MOST if budget is None else max(1, budget // n)
        nodes = min(_FIRST, most)
        wanted = rows.explained - rows.explained_background.mean(axis=1)
        scale = np.abs(rows.explained_background).max(axis=1) + np.abs(rows.explained)
        allowed = _MISSING * scale if tolerance is None else tolerance
        shape = (count, self.problem.players.count, rows.which.shape[1])
        values = np.zeros(shape)
        going_on = np.arange(count)
        while len(going_on):
            values[going_on] = self._integrate(rows, going_on, nodes)
            gap = np.abs(values.sum(axis=1) - wanted)
            going_on = np.flatnonzero((gap > allowed).any(axis=1))
            progress(count - len(going_on), count)
            if nodes >= most:
                break
            nodes = min(2 * nodes, most)
        return Attribution(complete(values, np.abs(values), wanted))

    def _integrate(self, rows: Rows, chosen: np.ndarray, nodes: int) -> np.ndarray:
        n = self.problem.num_background
        t, weights = np.polynomial.legendre.leggauss(nodes)
        size = (len(chosen), n * nodes)
        behind: np.ndarray = np.repeat(np.arange(n, dtype="int32"), nodes)
        sums, _ = self.paths.sums(
            rows,
            chosen,
            np.broadcast_to(behind, size),
            np.broadcast_to(np.tile((t + 1) / 2, n).astype("float32"), size),
            np.broadcast_to(np.tile(weights / 2 / n, n).astype("float32"), size),
        )
        return self.problem.players.total(sums)
