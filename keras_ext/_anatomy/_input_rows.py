"""Rows for models with several inputs, whatever form they are given in."""

from collections.abc import Sequence

import keras
import numpy as np

from keras_ext._core._checks import require
from keras_ext._core._typing import Data, Shape
from keras_ext._keras._functional import is_functional


def input_names(model: keras.Model) -> list[str]:
    """The names of the inputs of a model, in the order of `model.inputs`.

    Args:
        model: A model that declares its inputs.
    """
    return [tensor.name for tensor in model.inputs]


def input_rows(model: keras.Model, x: Data, name: str) -> list[np.ndarray]:
    """Lists arrays, one for each input, in the order of `model.inputs`.

    Args:
        model: A model that declares its inputs.
        x: An array, a list or other structure of arrays like that of the inputs, or a
            dictionary from the names of the inputs.
        name: How the argument is called.

    Raises:
        ValueError: If there are not as many as inputs, or not as many rows in each.
    """
    names = input_names(model)
    arrays = listed(names, x)
    rule = f"{len(names)} arrays with rows, as many in each, for the inputs {names}"
    fits = len(arrays) == len(names) and all(a.ndim > 0 for a in arrays)
    require(fits and len({len(a) for a in arrays}) == 1, name, x, rule)
    return arrays


def listed(names: Sequence[str], x: Data) -> list[np.ndarray]:
    """The arrays that rows hold: by names, or else as they stand in a structure.

    Args:
        names: The names of the inputs.
        x: An array, a list or other structure of arrays, or a dictionary from names.
    """
    if is_by_name(names, x):
        # `keras.tree` takes the entries in the order of sorted keys.
        leaves = [x[key] for key in names]
    else:
        several = len(names) > 1 or isinstance(x, dict | list | tuple)
        leaves = keras.tree.flatten(x) if several else [x]
    return [np.asarray(leaf) for leaf in leaves]


def is_by_name(names: Sequence[str], x: Data) -> bool:
    """Whether rows are a dictionary with an entry for each of the names."""
    return isinstance(x, dict) and set(names) <= set(x)


def as_model_takes(model: keras.Model, rows: Sequence[Data]) -> Data:
    """Rows in the structure of the inputs of a model.

    Args:
        model: A model that declares its inputs.
        rows: One array or tensor for each, in the order of `model.inputs`.
    """
    if is_functional(model):
        return keras.tree.pack_sequence_as(model.input, list(rows))
    return rows[0] if len(rows) == 1 else list(rows)


def has_shape(rows: np.ndarray, shape: Shape) -> bool:
    """Whether an array has a shape, in which None stands for any length."""
    pairs = zip(rows.shape, shape, strict=False)
    return rows.ndim == len(shape) and all(n in (None, m) for m, n in pairs)
