"""Batches of data that are looked at again and again while training."""

from collections.abc import Iterable, Iterator
from typing import Self

import keras
import numpy as np
import tensorflow as tf

from keras_ext._core._checks import integer, require
from keras_ext._core._typing import Data

ROWS_AT_ONCE = 512


class FixedData:
    """Yields the same batches of `(x, y, sample_weight)` each time it is iterated.

    Args:
        data: `(x, y)` or `(x, y, sample_weight)` of arrays, or of lists or
            dictionaries of arrays; or a `tf.data.Dataset` or `keras.utils.PyDataset`
            that yields batches of these; or a `FixedData`, which is taken as it is.
        max_rows: Integer >= 1; use so many rows of the arrays, evenly spaced. None
            means all.
        batch_size: Integer >= 1, the largest batch made of arrays.
        name: The argument to name in errors.
    """

    def __init__(
        self,
        data: Data,
        max_rows: int | None = None,
        batch_size: int = ROWS_AT_ONCE,
        name: str = "data",
    ) -> None:
        if isinstance(data, FixedData):
            vars(self).update(vars(data))
            return
        is_tuple = isinstance(data, tuple | list)
        require(
            len(data) in (2, 3)
            if is_tuple
            else isinstance(data, tf.data.Dataset | keras.utils.PyDataset),
            name,
            data,
            "a tuple (x, y) or (x, y, sample_weight), a Dataset or a PyDataset",
        )
        max_rows = integer(max_rows, "max_rows", low=1, optional=True)
        self.num_rows: int | None = None
        self._batches: Data = data
        if is_tuple:
            self._batches = self._chunks(tuple(data), max_rows, batch_size, name)

    def _chunks(
        self, data: tuple[Data, ...], max_rows: int | None, batch_size: int, name: str
    ) -> list[tuple[Data, ...]]:
        arrays = keras.tree.map_structure(np.asarray, data, none_is_leaf=False)
        leaves = [a for a in keras.tree.flatten(arrays) if a is not None]
        have_rows = all(a.ndim > 0 and a.dtype != object for a in leaves)
        require(have_rows, name, data, "made of arrays with an axis of rows")
        sizes = {len(a) for a in leaves}
        require(len(sizes) == 1, name, sorted(sizes), "of equally many rows")
        (rows,) = sizes
        require(rows > 0, name, "0 rows", "of one row or more")
        self.num_rows = min(rows, max_rows or rows)
        chosen = np.linspace(0, rows - 1, self.num_rows).round().astype(int)
        parts = np.array_split(chosen, -(-self.num_rows // batch_size))
        return [
            keras.tree.map_structure(lambda a, p=p: a[p], arrays, none_is_leaf=False)
            for p in parts
        ]

    @classmethod
    def first_rows(cls, batches: Iterable[Data], max_rows: int) -> Self:
        """Keeps the first batches of something, until they have so many rows.

        Args:
            batches: A dataset, also one without end.
            max_rows: The last batch is kept whole.
        """
        kept: list[Data] = []
        rows = 0
        for batch in batches:
            kept.append(batch)
            rows += int(keras.ops.shape(keras.tree.flatten(batch)[0])[0])
            if rows >= max_rows:
                break
        data = cls.__new__(cls)
        data.num_rows, data._batches = rows, kept
        return data

    def __iter__(self) -> Iterator[tuple[Data, Data, Data]]:
        for batch in self._batches:
            yield keras.utils.unpack_x_y_sample_weight(batch)

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        # It is only read: a copy, as KerasTuner makes for each trial, shares it.
        return self
