"""What outputs become while players are removed or put in."""

from dataclasses import dataclass
from itertools import product

import numpy as np

from keras_ext._core._checks import integer, require
from keras_ext._core._progress import Progress
from keras_ext._core._typing import Data, Explanation
from keras_ext.explain._arguments import as_numbers
from keras_ext.explain._explainer import Explainer
from keras_ext.explain._inputs import take
from keras_ext.explain._subject import Subject


@dataclass(frozen=True)
class Curve:
    """Outputs of a model while more and more players are changed.

    Args:
        fractions: `(points,)`, the fraction of the players that has been changed, from
            0 to 1.
        outputs: `(rows, points)`, or `(rows, points, outputs)` if several are
            explained.

    Examples:
        >>> import numpy as np
        >>> import keras_ext as kx
        >>> curve = kx.explain.metrics.Curve(
        ...     np.array([0.0, 0.5, 1.0]), np.array([[4.0, 2.0, 0.0]])
        ... )
        >>> print(curve.area)
        [2.]
    """

    fractions: np.ndarray
    outputs: np.ndarray

    def __post_init__(self) -> None:
        points = as_numbers(self.fractions, "fractions", "a vector of numbers")
        valid = points.ndim == 1 and len(points) > 1 and (np.diff(points) > 0).all()
        valid = valid and points[0] >= 0 and points[-1] <= 1
        expected = "a vector of two or more numbers in [0, 1] that rise"
        require(valid, "fractions", self.fractions, expected)
        outputs = as_numbers(self.outputs, "outputs", "an array of numbers")
        valid = outputs.ndim in (2, 3) and outputs.shape[1] == len(points)
        expected = (
            f"of the shape (rows, {len(points)}) or (rows, {len(points)}, outputs)"
        )
        require(valid, "outputs", self.outputs, expected)

    @property
    def area(self) -> np.ndarray:
        """The area under each curve, `(rows,)` or `(rows, outputs)`: a mean output."""
        between = (self.outputs[:, 1:] + self.outputs[:, :-1]) / 2
        return np.tensordot(np.diff(self.fractions), between, axes=(0, 1))


def curve_of(
    explanation: Explanation,
    explainer: Explainer,
    x: Data,
    steps: int,
    background: Data,
    inserted: bool,
) -> Curve:
    """Changes the players in the order of their values, the highest first."""
    steps = integer(steps, "steps", low=1)
    subject = Subject(explanation, explainer, x)
    coalitions = subject.coalitions(background)
    rows, count = subject.rows, subject.problem.players.count
    order = np.argsort(-subject.values, axis=1, kind="stable")
    ranks = np.argsort(order, axis=1)
    changed = np.unique(np.linspace(0, count, min(steps, count) + 1).round())
    outputs = np.zeros((len(order), len(changed), order.shape[2]))
    pairs = list(product(range(len(order)), range(order.shape[2])))
    progress = Progress()
    for done, (row, output) in enumerate(pairs, start=1):
        first = ranks[row, :, output] < changed[:, None]
        some = slice(row, row + 1)
        present = first if inserted else ~first
        found = coalitions.values(take(rows.parts, some), rows.which[some], present)
        outputs[row, :, output] = found[0, :, output]
        # The first includes tracing.
        (progress if done > 1 else progress.begin)(done, len(pairs))
    return Curve(changed / count, subject.shaped(outputs))
