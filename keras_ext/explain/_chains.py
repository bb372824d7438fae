"""Players that come in one by one, and what each of them brings."""

from collections.abc import Sequence

import numpy as np

from keras_ext.explain._inputs import take
from keras_ext.explain._problem import Problem, Rows


class Chains:
    """For each row and each background row, the way from this to that, in orders.

    A player that is the same in both changes nothing, and is passed over: what has to
    be evaluated are the places between two players that do change something.

    Args:
        problem: The problem.
        rows: The rows.
        chosen: The numbers of those that are explained.
        orders: The orders for each background row, `(N, replicates, players)`: the
            player at each place. Each is also gone through backwards.

    Attributes:
        ranks: The place of each player in each order, `(N * 2 * replicates, players)`.
        row, order, place: What is to be evaluated: all players up to a place of an
            order are as in a row. `row` counts from 0 among the chosen ones.
        behind: The background row that the others are from.
    """

    def __init__(
        self, problem: Problem, rows: Rows, chosen: np.ndarray, orders: np.ndarray
    ) -> None:
        n, self._replicates, self._players = orders.shape
        # An order and its reverse are wrong in opposite directions, so that much
        # cancels.
        both = np.stack([orders, orders[..., ::-1]], axis=2)
        both = both.reshape(n * 2 * self._replicates, self._players)
        # The inverse of a permutation: the place of each player.
        self.ranks = np.argsort(both, axis=1).astype("int32")
        self.x = take(rows.parts, chosen)
        self.which = rows.which[chosen]
        changed = problem.players.changed(self.x, problem.background, problem.inputs)
        self._ends = rows.explained[chosen], rows.explained_background[chosen]
        self._shape = (*changed.shape[:2], self._replicates, self._players)
        self._is_full = bool(changed.all())
        if self._is_full:
            self._take_every_step()
        else:
            self._find_steps(changed, both)
        self.behind = self.order // (2 * self._replicates)

    def _take_every_step(self) -> None:
        """Lists the places if every player changes something in every chain.

        So it is with continuous data, where the lists cost as much as small models.
        """
        rows, orders, places = len(self.which), len(self.ranks), self._players - 1
        grid = np.ogrid[:rows, :orders, :places]
        self.row, self.order, self.place = (
            np.broadcast_to(index.astype("int32"), (rows, orders, places)).ravel()
            for index in grid
        )

    def _find_steps(self, changed: np.ndarray, orders: np.ndarray) -> None:
        """Lists the places at which something changes, chain after chain."""
        count, n, players = changed.shape
        per_row = orders.reshape(n, -1, players)
        steps = np.take_along_axis(changed[:, :, None], per_row[None], axis=3)
        chain, place = np.divmod(np.flatnonzero(steps), players)
        row, order = np.divmod(chain, len(orders))
        self._player = orders[order, place]
        self._all_rows, self._all_orders = row, order
        moves = chain[1:] != chain[:-1]
        # Cut off for the case that nothing changes anywhere.
        self._first = np.concatenate([[True], moves])[: len(chain)]
        self._last = np.concatenate([moves, [True]])[: len(chain)]
        inner = ~self._last
        self.row, self.order, self.place = (
            index[inner].astype("int32") for index in (row, order, place)
        )

    def contributions(self, outputs: np.ndarray) -> np.ndarray:
        """What each player has brought, of the outputs at the places to evaluate.

        Args:
            outputs: `(places, k)`.

        Returns:
            `(rows, N, replicates, players, k)`, means of both directions.
        """
        gains = self._all_gains if self._is_full else self._some_gains
        return gains(outputs).reshape(*self._shape, -1)

    def _all_gains(self, outputs: np.ndarray) -> np.ndarray:
        ends, starts = self._ends
        shape = (len(ends), len(self.ranks), self._players - 1, outputs.shape[1])
        inner = outputs.reshape(shape)
        # In float64: gains are small differences of outputs.
        on_the_way = np.empty((*inner.shape[:2], self._players + 1, inner.shape[3]))
        on_the_way[:, :, 1:-1] = inner
        on_the_way[:, :, -1] = ends[:, None]
        on_the_way[:, :, 0] = np.repeat(starts, 2 * self._replicates, axis=1)
        gains = np.diff(on_the_way, axis=2)
        gains = np.take_along_axis(gains, self.ranks[None, :, :, None], axis=2)
        return (gains[:, ::2] + gains[:, 1::2]) / 2

    def _some_gains(self, outputs: np.ndarray) -> np.ndarray:
        ends, starts = self._ends
        behind = self._all_orders // (2 * self._replicates)
        after = ends[self._all_rows].astype("float64")
        after[~self._last] = outputs
        before = np.roll(after, 1, axis=0)
        # `roll` has brought the end of another chain here.
        before[self._first] = starts[self._all_rows, behind][self._first]
        gains = (after - before) / 2
        # Both directions of an order have one place.
        pair = self._all_rows * (len(self.ranks) // 2) + self._all_orders // 2
        place = pair * self._players + self._player
        size = int(np.prod(self._shape))
        # `bincount` adds in float64.
        sums = [np.bincount(place, column, size) for column in gains.T]
        return np.stack(sums, axis=-1)


class Tally:
    """Means, with standard errors, of what was found in several rounds.

    The background rows are all there are, and no sample: only the spread within each of
    them, over its replicates, is an error.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        rows, _, players, k = shape
        self._sum = np.zeros(shape)
        self._squares = np.zeros(shape)
        self._count = np.zeros((rows, 1, 1, 1))
        self._spread = np.full((rows, players, k), np.nan)

    def add(self, rows: np.ndarray, found: np.ndarray) -> None:
        """Adds `(rows, N, replicates, players, k)` for some rows."""
        self._sum[rows] += found.sum(axis=2)
        self._squares[rows] += (found**2).sum(axis=2)
        self._count[rows] += found.shape[2]

    def mean(self) -> np.ndarray:
        """The means, `(rows, players, k)`."""
        return (self._sum / self._count).mean(axis=1)

    def error(self) -> np.ndarray:
        """Their standard errors; too large ones where there is one replicate."""
        means = self._sum / self._count
        n = means.shape[1]
        freedom = np.maximum(self._count - 1, 1)
        within = (
            # Of equal numbers, rounding may leave less than nothing.
            np.maximum(self._squares - self._sum * means, 0) / freedom / self._count
        )
        # A mean of n means that are drawn apart: their variances add up.
        several = np.sqrt(within.sum(axis=1)) / n
        # With one replicate, what is due to the background cannot be told from chance.
        single = means.std(axis=1, ddof=1) / np.sqrt(n) if n > 1 else self._spread
        return np.where(self._count[:, 0] > 1, several, single)
