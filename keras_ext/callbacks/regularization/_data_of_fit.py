"""Rows of the data that `fit` was given, for callbacks that measure on them."""

import math

import keras
import numpy as np
import tensorflow as tf

from keras_ext._anatomy._fixed_data import ROWS_AT_ONCE, FixedData
from keras_ext._core._checks import require
from keras_ext._core._typing import Data
from keras_ext._keras._model_runs import arguments_of_fit, watch_runs_of_models
from keras_ext.data._dynamic_batches import DynamicBatches

# Enough for a loss to be known to a few percent, and few enough to be measured on in
# every epoch.
MAX_ROWS = 2048

_HINT = "Pass it to the callback."

# At import: the first callback may be made within the call of `fit` that it is for.
watch_runs_of_models()


class DataOfFit:
    """What the `fit` that is running trains on and validates with, a part of it.

    Of arrays, the rows are spread evenly; of a dataset, they are the first ones, for
    which it is iterated once more. Those of training have weights only if those of
    validation have some, so that their losses can be compared; class weights, which
    `fit` applies to the one and not to the other, are left out.

    Args:
        model: The model.
    """

    def __init__(self, model: keras.Model) -> None:
        given = arguments_of_fit(model)
        self.is_known = given is not None
        self._given = given or {}

    @property
    def _split(self) -> float:
        """The share that is split off; Keras does so only without validation data."""
        given = self._given
        is_given = given.get("validation_data") is not None
        return 0.0 if is_given else float(given.get("validation_split") or 0.0)

    def training_rows(
        self, max_rows: int = MAX_ROWS, batch_size: int = ROWS_AT_ONCE
    ) -> FixedData:
        """Rows that are trained on.

        Args:
            max_rows: How many at most, if they are arrays.
            batch_size: The largest batch, if they are arrays.

        Raises:
            ValueError: If there is no `fit`, or its data cannot be read again.
        """
        given = self._given
        hint = f"There is no `fit` to take it from. {_HINT}"
        require(self.is_known, "train_data", None, "data", hint)
        weights = given["sample_weight"]
        weighted = self._has_weights()
        # The two losses are compared, so both are weighted or neither.
        data = given["x"], given["y"], weights if weighted else None
        sizes = max_rows, batch_size
        rows = _fixed(data, "train_data", 0.0, 1.0 - self._split, *sizes)
        return rows if weighted else _without_weights(rows)

    def validation_rows(self) -> FixedData:
        """Rows that are validated with.

        Raises:
            ValueError: If there are none, or they cannot be read again.
        """
        self.require_validation()
        given = self._given
        if given["validation_data"] is None:
            data = given["x"], given["y"], given["sample_weight"]
            return _fixed(data, "validation_data", 1.0 - self._split, 1.0)
        data = keras.utils.unpack_x_y_sample_weight(given["validation_data"])
        return _fixed(data, "validation_data", 0.0, 1.0)

    def require_validation(self) -> None:
        """Raises a `ValueError` unless `fit` validates."""
        expected = "data, here or as `validation_data` or `validation_split` of `fit`"
        hint = "How far the model overfits cannot be measured without."
        validated = self._given.get("validation_data") is not None or self._split > 0
        require(validated, "validation_data", None, expected, hint)

    def _has_weights(self) -> bool:
        data = self._given["validation_data"]
        if data is None:
            return self._given["sample_weight"] is not None
        if isinstance(data, tf.data.Dataset):
            data = data.element_spec
        elif isinstance(data, keras.utils.PyDataset):
            data = data[0]
        if not isinstance(data, tuple | list):
            return False
        return keras.utils.unpack_x_y_sample_weight(data)[2] is not None


def given_rows(
    train_data: Data, max_rows: int | None = None, batch_size: int = ROWS_AT_ONCE
) -> FixedData | None:
    """The rows that a callback was given; None if it is to take those of `fit`."""
    if train_data is None:
        return None
    return FixedData(train_data, max_rows, batch_size, name="train_data")


def rows_to_train_on(
    model: keras.Model,
    train_data: Data,
    max_rows: int | None = None,
    batch_size: int = ROWS_AT_ONCE,
) -> FixedData:
    """What a callback was given, also as `FixedData`, or rows that `fit` trains on."""
    given = given_rows(train_data, max_rows, batch_size)
    if given is not None:
        return given
    return DataOfFit(model).training_rows(max_rows or MAX_ROWS, batch_size)


def data_or_that_of_fit(
    model: keras.Model, train_data: Data, validation_data: Data
) -> tuple[FixedData, FixedData]:
    """What a callback was given to measure on, or else rows that `fit` has.

    Of arrays that it was given, as many rows to train on as to validate with.
    """
    data = DataOfFit(model)
    if validation_data is None:
        validation = data.validation_rows()
    else:
        validation = FixedData(validation_data, name="validation_data")
    if train_data is None:
        return data.training_rows(), validation
    rows = validation.num_rows
    return FixedData(train_data, rows, name="train_data"), validation


def _fixed(
    data: tuple[Data, ...],
    name: str,
    begin: float,
    end: float,
    max_rows: int = MAX_ROWS,
    batch_size: int = ROWS_AT_ONCE,
) -> FixedData:
    """Some of the rows between two shares of all."""
    x = data[0]
    if isinstance(x, DynamicBatches):
        plain = x.plain_data()
        data = plain if isinstance(plain, tuple) else (plain,)
        x = data[0]
    if isinstance(x, tf.data.Dataset | keras.utils.PyDataset):
        return FixedData.first_rows(FixedData(x), MAX_ROWS)
    leaves = [a for a in keras.tree.flatten(data) if a is not None]
    known = all(hasattr(a, "shape") and len(a.shape) > 0 for a in leaves)
    known = known and not any(map(_is_sparse, leaves))
    hint = f"These rows of `fit` cannot be read a second time. {_HINT}"
    expected = "arrays or a dataset that can be read again"
    require(known, name, type(x), expected, hint)
    # Keras cuts in the same way for `validation_split`.
    total = leaves[0].shape[0]
    part = slice(math.floor(total * begin), math.floor(total * end))
    arrays = keras.tree.map_structure(
        lambda a: np.asarray(a)[part], data, none_is_leaf=False
    )
    return FixedData(arrays, max_rows, batch_size, name=name)


def _is_sparse(array: object) -> bool:
    return isinstance(array, tf.SparseTensor | tf.RaggedTensor) or hasattr(array, "nnz")


def _without_weights(rows: FixedData) -> FixedData:
    return FixedData.first_rows(((x, y) for x, y, _ in rows), MAX_ROWS)
