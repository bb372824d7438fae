"""The value of coalitions of players, over the whole background."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from keras_ext._core._typing import Tensor
from keras_ext.explain._inputs import take
from keras_ext.explain._problem import Problem, gathered


class Coalitions:
    """Computes what the model says when only some players are as in the row.

    The others are as in a row of the background; the mean over all these is the value
    of the coalition.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.batch_size = problem.batch_size
        self._of_part = problem.players.of_part(problem.inputs)
        self._mean = problem.compiled(
            self._mean_values,
            problem.rows,
            problem.rows,
            tf.TensorSpec((None, problem.players.count), tf.bool),
            tf.TensorSpec((None, problem.function.num_outputs), tf.int32),
        )

    def values(
        self,
        x: Sequence[np.ndarray],
        which: np.ndarray,
        coalitions: np.ndarray,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> np.ndarray:
        """Evaluates the same coalitions for all rows.

        Args:
            x: Parts of the rows.
            which: The outputs of each row, `(rows, k)`.
            coalitions: `(S, players)` of bool: who is as in the row.
            progress: Called after each chunk.

        Returns:
            `(rows, S, k)`, in float64.
        """
        n = self.problem.num_background
        background_at_once = min(n, self.batch_size)
        coalitions_at_once = min(len(coalitions), max(1, self.batch_size // n))
        x_at_once = max(1, self.batch_size // (background_at_once * coalitions_at_once))
        result = np.zeros((len(which), len(coalitions), which.shape[1]))
        chunks = [
            (rows, some, behind)
            for rows in _slices(len(which), x_at_once)
            for some in _slices(len(coalitions), coalitions_at_once)
            for behind in _slices(n, background_at_once)
        ]
        for done, (rows, some, behind) in enumerate(chunks, start=1):
            sums = self._mean(
                gathered(take(x, rows)),
                gathered(take(self.problem.background, behind)),
                tf.constant(coalitions[some]),
                tf.constant(which[rows]),
            )
            # In float64 from here on: backgrounds may take many chunks.
            result[rows, some] += sums.numpy() / n
            progress(done, len(chunks))
        return result

    def _mean_values(
        self, x: list[Tensor], background: list[Tensor], z: Tensor, which: Tensor
    ) -> Tensor:
        """The sum over this background, `(rows, S, k)`."""
        count, num = tf.shape(x[0])[0], tf.shape(z)[0]
        n = tf.shape(background[0])[0]
        mixed = [
            _mixed(own, other, tf.gather(z, of, axis=1))
            for own, other, of in zip(x, background, self._of_part, strict=True)
        ]
        columns = self.problem.function(mixed)
        shape = (count, num, n, columns.shape[1])
        sums = tf.reduce_sum(tf.reshape(columns, shape), axis=2)
        return self.problem.function.pick(sums, which)


def _mixed(x: Tensor, background: Tensor, z: Tensor) -> Tensor:
    """`x` where `z` says so, else the background: `(rows * S * N, elements)`.

    The background and the elements are one axis meanwhile: to broadcast over three
    long axes takes half as long as over four, with short ones.
    """
    n, elements = tf.shape(background)[0], x.shape[1]
    chosen = tf.reshape(tf.tile(z[:, None], (1, n, 1)), (1, -1, n * elements))
    own = tf.reshape(tf.tile(x[:, None], (1, n, 1)), (-1, 1, n * elements))
    other = tf.reshape(background, (1, 1, n * elements))
    return tf.reshape(tf.where(chosen, own, other), (-1, elements))


def _slices(count: int, size: int) -> list[slice]:
    return [slice(i, min(i + size, count)) for i in range(0, count, size)]
