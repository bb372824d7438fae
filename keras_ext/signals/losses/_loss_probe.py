"""The loss of a model on fixed data."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_ext._anatomy._fixed_data import FixedData
from keras_ext._anatomy._kept_values import kept_values
from keras_ext._anatomy._trial import loss_of, trace_early
from keras_ext._core._checks import require
from keras_ext._core._described import Described
from keras_ext._core._typing import Data, Record, Tensor


class LossProbe(Described):
    """Measures the loss of a compiled model on fixed data, in inference mode.

    It is what `model.evaluate` returns as loss, with penalties of regularizers, but it
    leaves the metrics of a running `fit` alone, and it is compiled once. Use it in a
    callback to compare training and validation loss: the training loss that `fit` logs
    is averaged over changing weights, with dropout on.

    Args:
        data: `(x, y)` or `(x, y, sample_weight)` of arrays, or of lists or
            dictionaries of arrays; or a `tf.data.Dataset` or `keras.utils.PyDataset`
            that yields batches of these.
        max_rows: Integer >= 1; rows of the arrays to use, evenly spaced. None
            means all.

    Raises:
        ValueError: If `data` is something else.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dropout(0.5)])
        >>> model.compile(loss="mse")
        >>> probe = kx.signals.LossProbe((np.ones((3, 1)), np.zeros((3, 1))))
        >>> probe.measure(model)
        1.0
    """

    def __init__(self, data: Data, *, max_rows: int | None = None) -> None:
        self.data = FixedData(data, max_rows)
        self._compiled: list[object] = []
        self._loss: Any = None

    @property
    def num_rows(self) -> int | None:
        """The number of rows, if the data are arrays."""
        return self.data.num_rows

    def measure(self, model: keras.Model) -> float:
        """Returns the mean loss of `model` over the data.

        Args:
            model: A compiled model. Its loss is compiled at the first call.

        Returns:
            The loss, averaged over rows; NaN or infinity if it is so.
        """
        self._compile(model)
        # The loss of a model with many outputs counts itself into the metrics of the
        # epoch that is running.
        with kept_values(model.metrics_variables):
            return self._mean_loss()

    def prepare(self, model: keras.Model, *, name: str = "data") -> None:
        """Finds out, before a training, whether the loss can be measured.

        Args:
            model: A compiled model.
            name: The argument that the data come from, for the error.

        Raises:
            ValueError: If it cannot, with the reason.
        """
        self._compile(model)
        batch = next(iter(self.data), None)
        require(batch is not None, name, "0 rows", "of one row or more")
        with kept_values(model.metrics_variables):
            trace_early(self._loss, batch, name, "the loss")

    def _compile(self, model: keras.Model) -> None:
        # `compile` sets a loss and makes new metrics; what was traced is out of date.
        compiled = [model, model.loss, *model.metrics]
        if [id(x) for x in compiled] != [id(x) for x in self._compiled]:
            self._compiled = compiled
            self._loss = tf.function(
                _loss_of(model), autograph=False, reduce_retracing=True
            )

    def _mean_loss(self) -> float:
        total, rows = 0.0, 0
        for x, y, weight in self.data:
            size = int(keras.ops.shape(keras.tree.flatten(x)[0])[0])
            total += size * float(self._loss(x, y, weight))
            rows += size
        require(rows > 0, "data", "0 rows", "of one row or more")
        return total / rows

    def __getstate__(self) -> Record:
        # What was traced for a model stays with the original.
        return {**vars(self), "_compiled": [], "_loss": None}

    def __deepcopy__(self, memo: dict[int, object]) -> "LossProbe":
        copied = type(self).__new__(type(self))
        vars(copied).update(self.__getstate__())
        memo[id(self)] = copied
        return copied


def _loss_of(model: keras.Model) -> Callable[[Data, Data, Data], Tensor]:
    def loss(x: Data, y: Data, sample_weight: Data) -> Tensor:
        value = loss_of(model, x, y, sample_weight, training=False)
        return tf.cast(value, tf.float32)

    return loss
