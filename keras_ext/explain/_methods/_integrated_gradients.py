"""Integrated gradients from each background row, with as many nodes as it takes."""

from collections.abc import Callable

import numpy as np

from keras_ext.explain._paths import Paths
from keras_ext.explain._problem import Attribution, Problem, Rows
from keras_ext.explain._quadrature import gauss_nodes, output_scale, until_complete

_MOST = 1024
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
        n = self.problem.num_background
        return until_complete(
            lambda chosen, nodes: self._integrate(rows, chosen, nodes),
            rows,
            _MOST if budget is None else max(1, budget // n),
            _MISSING * output_scale(rows) if tolerance is None else tolerance,
            progress,
        )

    def _integrate(self, rows: Rows, chosen: np.ndarray, nodes: int) -> np.ndarray:
        n = self.problem.num_background
        t, weights = gauss_nodes(nodes)
        size = (len(chosen), n * nodes)
        behind: np.ndarray = np.repeat(np.arange(n, dtype="int32"), nodes)
        sums, *_ = self.paths.sums(
            rows,
            chosen,
            np.broadcast_to(behind, size),
            np.broadcast_to(np.tile(t, n), size),
            np.broadcast_to(np.tile(weights / n, n), size),
        )
        return self.problem.players.total(sums)
