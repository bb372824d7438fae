"""Rows in whatever form they are given, as arrays in the structure of the inputs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_ext._core._checks import require
from keras_ext._core._typing import Data

_SCALARS = (bool, int, float, str, bytes, np.generic)
_PAD = "Make rows equally long, as keras.utils.pad_sequences does."


def given_rows(x: Data, name: str, declared: Sequence[keras.KerasTensor]) -> Data:
    """Reads data sets, makes arrays of lists, and dense arrays of sparse ones.

    Args:
        x: What was given: an array of any kind, a DataFrame, a list of rows, a
            `tf.data.Dataset` or `PyDataset`, or a structure of arrays.
        name: The argument to name in errors.
        declared: The symbolic inputs of the model, if it has any.

    Returns:
        Arrays and DataFrames, in the structure in which they were given.

    Raises:
        ValueError: If rows are not equally long, or a data set has no end.
    """
    if isinstance(x, tf.data.Dataset | keras.utils.PyDataset):
        return _read(x, name, declared)
    return _arrays(x, name, len(declared))


def _arrays(x: Data, name: str, count: int) -> Data:
    """Structures of arrays remain; lists of rows become an array."""
    if isinstance(x, Mapping):
        return {key: _arrays(value, name, 1) for key, value in x.items()}
    if not isinstance(x, list | tuple):
        return _dense(x, name)
    of_inputs = count > 1 and len(x) == count
    if not of_inputs and _is_written_out(x):
        return _array(x, name)
    if count == 1 and len(x) > 1:  # rows, each an array
        return _array(x, name)
    inner = [_arrays(value, name, 1) for value in x]
    return inner if isinstance(x, list) else tuple(inner)


def _is_written_out(x: Data) -> bool:
    """Whether there are only numbers and texts in lists."""
    return all(isinstance(leaf, _SCALARS) for leaf in keras.tree.flatten(x))


def _array(rows: Data, name: str) -> np.ndarray:
    try:
        array = np.asarray(rows)
    except ValueError:  # rows of several lengths
        require(False, name, rows, "of equally long rows", _PAD)
    return array.astype(object) if array.dtype.kind in "SU" else array


def _dense(x: Data, name: str) -> Data:
    """An array, whatever package it is from; a DataFrame as it is."""
    if isinstance(x, tf.SparseTensor):
        return tf.sparse.to_dense(x).numpy()
    if isinstance(x, tf.RaggedTensor):
        even = all(len(np.unique(n)) <= 1 for n in x.nested_row_lengths())
        require(even, name, x, "of equally long rows", _PAD)
        return x.to_tensor().numpy()
    if hasattr(x, "toarray"):  # of scipy
        return x.toarray()
    return x


def _read(data: Data, name: str, declared: Sequence[keras.KerasTensor]) -> Data:
    """All rows of a data set; targets and weights are left out."""
    single = False
    if isinstance(data, tf.data.Dataset):
        endless = int(data.cardinality()) == tf.data.INFINITE_CARDINALITY
        hint = "Take some of it: dataset.take(10)."
        require(not endless, name, data, "a data set that ends", hint)
        single = _is_of_single_rows(data.element_spec, declared)
    batches = [
        keras.tree.map_structure(
            lambda leaf: np.asarray(_dense(leaf, name)),
            keras.utils.unpack_x_y_sample_weight(element)[0],
        )
        for element in _elements(data)
    ]
    require(batches != [], name, data, "of one row or more")
    join = np.stack if single else np.concatenate
    return keras.tree.map_structure(lambda *parts: join(parts), *batches)


def _elements(data: Data) -> Iterator[Data]:
    if isinstance(data, tf.data.Dataset):
        yield from data
    else:
        yield from (data[i] for i in range(data.num_batches))


def _is_of_single_rows(spec: Any, declared: Sequence[keras.KerasTensor]) -> bool:
    """Whether elements are rows, and not batches of them."""
    x, _, _ = keras.utils.unpack_x_y_sample_weight(spec)
    shape = keras.tree.flatten(x)[0].shape
    if shape.rank is None or not declared:
        return False
    # An open first axis is that of batches; rows have an axis less than the model says.
    return shape.rank < len(declared[0].shape) and shape[:1] != [None]
