"""Gradients along straight lines from the background to the rows."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from keras_ext._core._typing import Tensor
from keras_ext.explain._leaves import Leaves
from keras_ext.explain._problem import Problem, Rows, gathered

# Outputs whose gradients are taken of one pass; each is a part of the graph.
_MOST_OUTPUTS = 16


class Paths:
    """Computes gradient times difference at points between background and rows."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.leaves = Leaves(problem.function, problem.background)
        # Gradients keep what was computed, as much as three plain rows.
        self.batch_size = max(1, problem.batch_size // 3)
        self._at_once = divisor(problem.function.num_outputs)
        points = tf.TensorSpec((None, None), tf.float32)
        self._sums = problem.compiled(
            self._weighted_sums,
            problem.rows,
            problem.rows,
            tf.TensorSpec((None, None), tf.int32),
            points,
            points,
            tf.TensorSpec((None, self._at_once), tf.int32),
        )

    def sums(
        self,
        rows: Rows,
        chosen: np.ndarray,
        behind: np.ndarray,
        t: np.ndarray,
        weights: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sums over points, sums of squares, and the squares of what points have.

        Args:
            rows: The rows.
            chosen: The numbers of those that are explained, `R` of them.
            behind: The background row of each point, `(R, points)`.
            t: How far each point is from there to the row, `(R, points)`, 0 to 1.
            weights: What each counts, `(R, points)`.

        Returns:
            `(R, elements, k)`, of weight times gradient times difference, and of its
            square; and `(R, k)`, of the square of its sum over the elements, which says
            how uncertain sums of values are. All in float64.
        """
        shape = (len(chosen), self.problem.inputs.num_elements, rows.which.shape[1])
        total, squares = np.zeros(shape), np.zeros(shape)
        of_sums = np.zeros((shape[0], shape[2]))
        for begin, end in self._blocks(behind.shape):
            some = slice(begin[0], end[0]), slice(begin[1], end[1])
            x = gathered([part[chosen[some[0]]] for part in rows.parts])
            points = [tf.constant(a[some]) for a in (behind, t, weights)]
            which = rows.which[chosen[some[0]]]
            for j in range(0, which.shape[1], self._at_once):
                columns = slice(j, j + self._at_once)
                found = self._sums(
                    x,
                    gathered(self.problem.background),
                    *points,
                    tf.constant(which[:, columns]),
                )
                total[some[0], :, columns] += found[0].numpy()
                squares[some[0], :, columns] += found[1].numpy()
                of_sums[some[0], columns] += found[2].numpy()
        return total, squares, of_sums

    def _blocks(
        self, shape: Sequence[int]
    ) -> list[tuple[tuple[int, int], tuple[int, int]]]:
        """Blocks of rows and points that the model can take at once."""
        rows, points = shape
        points_at_once = min(points, self.batch_size)
        at_once = max(1, self.batch_size // points_at_once)
        return [
            ((r, p), (min(r + at_once, rows), min(p + points_at_once, points)))
            for r in range(0, rows, at_once)
            for p in range(0, points, points_at_once)
        ]

    def _weighted_sums(
        self,
        x: list[Tensor],
        background: list[Tensor],
        behind: Tensor,
        t: Tensor,
        weights: Tensor,
        which: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        count, points = tf.shape(t)[0], tf.shape(t)[1]
        own = [tf.repeat(part, points, axis=0) for part in x]
        ends = [tf.repeat(leaf, points, axis=0) for leaf in self.leaves(x)]
        starts = [
            tf.gather(b, tf.reshape(behind, [-1])) for b in self.leaves(background)
        ]
        differences = [a - b for a, b in zip(ends, starts, strict=True)]
        between = [
            b + _like(t, d) * d for b, d in zip(starts, differences, strict=True)
        ]
        _, gradients = self.leaves.gradients(
            between, own, tf.repeat(which, points, axis=0)
        )
        scale = tf.reshape(weights, (-1, 1))
        found = [
            scale
            * self.leaves.elements(
                [g * d for g, d in zip(row, differences, strict=True)]
            )
            for row in gradients
        ]
        shape = (count, points, self.problem.inputs.num_elements, len(found))
        stacked = tf.reshape(tf.stack(found, axis=-1), shape)
        of_sums = tf.reduce_sum(tf.reduce_sum(stacked, axis=2) ** 2, axis=1)
        return (
            tf.reduce_sum(stacked, axis=1),
            tf.reduce_sum(stacked**2, axis=1),
            of_sums,
        )


def _like(t: Tensor, leaf: Tensor) -> Tensor:
    """`t` for each point, to be multiplied with a leaf."""
    shape = (-1, *[1] * (leaf.shape.rank - 1))
    return tf.cast(tf.reshape(t, shape), leaf.dtype)


def divisor(outputs: int) -> int:
    """How many outputs to go back from in one graph, which is always as many."""
    most = min(outputs, _MOST_OUTPUTS)
    return max(d for d in range(1, most + 1) if outputs % d == 0)
