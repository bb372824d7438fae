"""Expected gradients: integrated gradients, averaged over the background."""

from collections.abc import Callable

import numpy as np

from keras_ext.explain._paths import Paths
from keras_ext.explain._problem import Attribution, Problem, Rows
from keras_ext.explain._quadrature import completed, output_scale

_POINTS = 800
# What is missing in so many standard errors is no chance.
_NO_CHANCE = 5.0


class ExpectedGradients:
    """Draws points between the rows and the background, evenly spread over both.

    Every background row comes equally often, and every stretch of the way. What then
    misses the difference of the outputs is divided among the elements by how uncertain
    each is.
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
        points = self.problem.affordable(_POINTS) if budget is None else budget
        replicates = max(1, round(points / n))
        points = replicates * n
        at_once = max(1, self.paths.batch_size // points)
        blocks = [
            np.arange(i, min(i + at_once, count)) for i in range(0, count, at_once)
        ]
        found = []
        for done, block in enumerate(blocks, start=1):
            found.append(self._explain(rows, block, replicates, tolerance))
            progress(done, len(blocks))
        values, errors, chances = (
            np.concatenate(part) for part in zip(*found, strict=True)
        )
        wanted = rows.explained - rows.explained_background.mean(axis=1)
        scale = output_scale(rows)
        return completed(values, errors**2, wanted, scale, chances, errors)

    def _explain(
        self, rows: Rows, block: np.ndarray, replicates: int, tolerance: float | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values and their errors, and by how much their sum may be off by chance."""
        # The same for every block: a row has the same values alone and among others.
        rng = np.random.default_rng(self.problem.seed)
        n = self.problem.num_background
        shape = (len(block), self.problem.players.count, rows.which.shape[1])
        total, squares, count = (
            np.zeros(shape),
            np.zeros(shape),
            np.zeros((len(block), 1, 1)),
        )
        of_sums = np.zeros((shape[0], shape[2]))
        going_on = np.arange(len(block))
        while len(going_on):
            behind, t = _points(rng, n, replicates)
            size = (len(going_on), n * replicates)
            sums = self.paths.sums(
                rows,
                block[going_on],
                np.broadcast_to(behind, size),
                np.broadcast_to(t, size),
                np.ones(size, "float32"),
            )
            total[going_on] += self.problem.players.total(sums[0])
            squares[going_on] += self.problem.players.total(sums[1])
            of_sums[going_on] += sums[2]
            count[going_on] += n * replicates
            mean = total / count
            # Of equal numbers, rounding may leave less than nothing.
            error = np.sqrt(np.maximum(squares / count - mean**2, 0) / count)
            if tolerance is None:
                break
            going_on = np.flatnonzero((error > tolerance).any(axis=(1, 2)))
        variance = np.maximum(of_sums / count[:, 0] - mean.sum(axis=1) ** 2, 0)
        # A single point says nothing of chance.
        several = np.where(count[:, 0] > 1, count[:, 0], 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            chance = np.where(several > 0, np.sqrt(variance / several), np.inf)
        return mean, error, _NO_CHANCE * chance


def _points(
    rng: np.random.Generator, n: int, replicates: int
) -> tuple[np.ndarray, np.ndarray]:
    """Background rows and places `t` between 0 and 1, each stretch of it once."""
    stretch = np.stack([rng.permutation(n) for _ in range(replicates)])
    turn = np.arange(replicates)[:, None]
    # At random within each stretch: Gauss's nodes are worse where gradients jump, as
    # those of networks with ReLU do.
    t = (turn + (stretch + rng.random(stretch.shape)) / n) / replicates
    behind = np.tile(np.arange(n, dtype="int32"), replicates)
    return behind, t.ravel().astype("float32")
