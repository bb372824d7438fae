"""Shapley values by random orders of the players."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from keras_ext._core._typing import Tensor
from keras_ext.explain._chains import Chains, Tally
from keras_ext.explain._problem import Attribution, Problem, Rows, gathered

# Numbers held at a time while the chains of some rows are summed up.
_HELD = 2**20
# Replicates, over the background, that the standard error is estimated from.
_REPLICATES = 64


class Permutation:
    """Lets the players come in one by one, in random orders.

    Each background row has orders of its own, and each order is also walked backwards.
    The sum of what the players bring is exact for each order. Orders of the same
    background row differ by chance alone: their spread gives the standard error.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.batch_size = problem.batch_size
        self._of_part = problem.players.of_part(problem.inputs)
        self._evaluate = problem.compiled(
            self._outputs_on_the_way,
            problem.rows,
            problem.rows,
            tf.TensorSpec((None, problem.players.count), tf.int32),
            tf.TensorSpec((None, problem.function.num_outputs), tf.int32),
            tf.TensorSpec((4, None), tf.int32),
        )

    def orders(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Draws orders, `(count, players)`: the player at each place."""
        players = np.arange(self.problem.players.count)
        return rng.permuted(np.tile(players, (count, 1)), axis=1)

    def __call__(
        self,
        rows: Rows,
        budget: int | None,
        tolerance: float | None,
        progress: Callable[[int, int], None],
    ) -> Attribution:
        n, players = self.problem.num_background, self.problem.players.count
        replicates = self._replicates(budget)
        held = n * 2 * replicates * players * rows.which.shape[1]
        at_once = max(1, _HELD // held)
        values, errors = [], []
        for begin in range(0, len(rows.which), at_once):
            block = np.arange(begin, min(begin + at_once, len(rows.which)))
            value, error = self._explain(block, rows, replicates, tolerance)
            values.append(value)
            errors.append(error)
            progress(int(block[-1]) + 1, len(rows.which))
        return Attribution(np.concatenate(values), np.concatenate(errors))

    def _replicates(self, budget: int | None) -> int:
        """How many orders each background row gets."""
        n, players = self.problem.num_background, self.problem.players.count
        if budget is None:
            usual = -(-_REPLICATES // n)
            steps = 2 * n * max(1, players - 1)
            # Without gradients, an evaluation takes a third.
            most = 3 * self.problem.affordable(usual * steps) // steps
            return max(2, min(usual, most))
        least = 2 if n == 1 else 1  # for an error to be known at all
        return max(least, round(budget / (2 * n * max(1, players - 1))))

    def _explain(
        self, block: np.ndarray, rows: Rows, replicates: int, tolerance: float | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Explains some rows, in as many rounds as it takes."""
        # The same for every block: a row has the same values alone and among others.
        rng = np.random.default_rng(self.problem.seed)
        n, players = self.problem.num_background, self.problem.players.count
        tally = Tally((len(block), n, players, rows.which.shape[1]))
        going_on = np.arange(len(block))
        while len(going_on):
            orders = self.orders(rng, n * replicates).reshape(n, replicates, players)
            chains = Chains(self.problem, rows, block[going_on], orders)
            tally.add(going_on, chains.contributions(self._outputs(chains)))
            error = tally.error()
            if tolerance is None:
                break
            going_on = np.flatnonzero((error > tolerance).any(axis=(1, 2)))
        return tally.mean(), error

    def _outputs(self, chains: Chains) -> np.ndarray:
        """What the model says at all the places that are to be evaluated."""
        outputs = np.empty((len(chains.row), chains.which.shape[1]), "float32")
        x, which = gathered(chains.x), tf.constant(chains.which)
        background, ranks = gathered(self.problem.background), tf.constant(chains.ranks)
        for begin in range(0, len(outputs), self.batch_size):
            some = slice(begin, begin + self.batch_size)
            places = np.stack(
                [
                    a[some]
                    for a in (chains.row, chains.behind, chains.order, chains.place)
                ]
            )
            found = self._evaluate(x, background, ranks, which, tf.constant(places))
            outputs[some] = found.numpy()
        return outputs

    def _outputs_on_the_way(
        self,
        x: list[Tensor],
        background: list[Tensor],
        ranks: Tensor,
        which: Tensor,
        places: Tensor,
    ) -> Tensor:
        """The outputs where all players up to a place of an order have come."""
        row, behind, order, place = tf.unstack(places)
        come = tf.gather(ranks, order) <= place[:, None]
        mixed = [
            tf.where(
                self._of_elements(come, of),
                tf.gather(own, row),
                tf.gather(other, behind),
            )
            for own, other, of in zip(x, background, self._of_part, strict=True)
        ]
        function = self.problem.function
        return function.pick(function(mixed), tf.gather(which, row))

    def _of_elements(self, come: Tensor, of: np.ndarray) -> Tensor:
        """Who has come, player by player, as a mask of the elements of a part."""
        if self.problem.players.are_elements and self.problem.inputs.is_single:
            return come
        return tf.gather(come, of, axis=1)
