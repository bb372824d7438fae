"""The loss of a model on fixed data."""

from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_ext.core._checks import is_integer, require
from keras_ext.core._typing import Tensor

_ROWS_AT_ONCE = 512


class LossProbe:
    """Measures the loss of a compiled model on fixed data, in inference mode.

    It is what `model.evaluate` returns as loss, with penalties of regularizers, but it
    leaves the metrics of a running `fit` alone, and it is compiled once. Use it in a
    callback to compare training and validation loss: the training loss that `fit` logs
    is averaged over changing weights, with dropout on.

    Args:
        data: `(x, y)` or `(x, y, sample_weight)` of arrays, or of lists or
            dictionaries of arrays; or a `tf.data.Dataset` or `keras.utils.PyDataset`
            that yields batches of these.
        max_rows: Integer >= 1; use so many rows of the arrays, evenly spaced. None
            means all.

    Raises:
        ValueError: If `data` is none of these.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dropout(0.5)])
        >>> model.compile(loss="mse")
        >>> probe = kx.signals.LossProbe((np.ones((3, 1)), np.zeros((3, 1))))
        >>> probe.measure(model)
        1.0
    """

    def __init__(self, data: Any, max_rows: int | None = None) -> None:
        require(
            isinstance(data, tuple | list | tf.data.Dataset | keras.utils.PyDataset),
            "data",
            type(data),
            "a tuple (x, y) or (x, y, sample_weight), a Dataset or a PyDataset",
        )
        require(
            max_rows is None or (is_integer(max_rows) and max_rows >= 1),
            "max_rows",
            max_rows,
            "an integer >= 1 or None",
        )
        self.num_rows: int | None = None
        self._batches: Iterable[Any] | keras.utils.PyDataset = data
        if isinstance(data, tuple | list):
            require(len(data) in (2, 3), "len(data)", len(data), "2 or 3")
            self._batches = self._chunks(tuple(data), max_rows)
        self._compiled: list[Any] = []
        self._loss: Any = None

    def _chunks(self, data: tuple[Any, ...], max_rows: int | None) -> list[Any]:
        arrays = keras.tree.map_structure(np.asarray, data)
        sizes = {len(a) for a in keras.tree.flatten(arrays)}
        require(len(sizes) == 1, "data", sorted(sizes), "of equally many rows")
        (rows,) = sizes
        require(rows > 0, "data", "0 rows", "of one row or more")
        self.num_rows = min(rows, max_rows or rows)
        chosen = np.linspace(0, rows - 1, self.num_rows).round().astype(int)
        parts = np.array_split(chosen, -(-self.num_rows // _ROWS_AT_ONCE))
        return [keras.tree.map_structure(lambda a, p=p: a[p], arrays) for p in parts]

    def measure(self, model: keras.Model) -> float:
        """Returns the mean loss of `model` over the data.

        Args:
            model: A compiled model. Its loss is compiled at the first call.

        Returns:
            The loss, averaged over rows; NaN or infinity if it is so.
        """
        # `compile` sets a loss and makes new metrics; what was traced is out of date.
        compiled = [model, model.loss, *model.metrics]
        if [id(x) for x in compiled] != [id(x) for x in self._compiled]:
            self._compiled = compiled
            self._loss = tf.function(
                _loss_of(model), autograph=False, reduce_retracing=True
            )
        # The loss of a model with many outputs counts itself into the metrics of the
        # epoch that is running.
        kept = [(v, keras.ops.convert_to_numpy(v)) for v in model.metrics_variables]
        try:
            return self._mean_loss()
        finally:
            for variable, value in kept:
                variable.assign(value)

    def _mean_loss(self) -> float:
        total, rows = 0.0, 0
        for batch in self._each_batch():
            x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
            size = int(keras.ops.shape(keras.tree.flatten(x)[0])[0])
            total += size * float(self._loss(x, y, weight))
            rows += size
        require(rows > 0, "data", "0 rows", "of one row or more")
        return total / rows

    def _each_batch(self) -> Iterator[Any]:
        if isinstance(self._batches, keras.utils.PyDataset):
            for i in range(len(self._batches)):
                yield self._batches[i]
        else:
            yield from self._batches

    def __deepcopy__(self, memo: dict[int, Any]) -> "LossProbe":
        # The data is only read: a copy, as KerasTuner makes for each trial, shares it.
        # What was traced for a model stays with the original.
        copied = type(self).__new__(type(self))
        traced: dict[str, Any] = {"_compiled": [], "_loss": None}
        vars(copied).update({**vars(self), **traced})
        memo[id(self)] = copied
        return copied


def _loss_of(model: keras.Model) -> Any:
    def loss(x: Any, y: Any, sample_weight: Any) -> Tensor:
        y_pred = model(x, training=False)
        value = model.compute_loss(x, y, y_pred, sample_weight, training=False)
        return tf.cast(value, tf.float32)

    return loss
