"""What goes into a model: taken apart into flat arrays, and put together again."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_ext._core._checks import require
from keras_ext._core._typing import Tensor
from keras_ext.explain._given_rows import given_rows
from keras_ext.explain._python_model import PythonModel


class Inputs:
    """The inputs of a model, whatever their structure, as flat arrays.

    Each input, a *part*, becomes an array of shape `(rows, elements)` in the dtype that
    the model wants. The elements of all parts, one after the other, are numbered from 0
    to `num_elements`.

    Args:
        model: The model.
        example: Rows as the model takes them: an array, or a list, tuple or dictionary
            of arrays, or a DataFrame; or a data set, see `given_rows`.
        name: The argument to name in errors.

    Attributes:
        names: The name of each part.
        shapes: The shape of one row of each part.
        sizes: The number of elements of each part.
        columns: The names of the columns of each part that came as a DataFrame, else
            None.

    Raises:
        ValueError: If the rows are none, or not equally many.
    """

    def __init__(
        self, model: keras.Model, example: Any, name: str = "background"
    ) -> None:
        self._by_column = _takes_columns(model)
        self._columns_of = getattr(model, "columns_of", _columns_of)
        self._declared = _declared(model)
        example = self._arrange(given_rows(example, name, self._declared))
        self.columns = [_columns(leaf) for leaf in keras.tree.flatten(example)]
        self._structure = _structure(example)
        arrays = self._arrays(example, name)
        self.shapes = [a.shape[1:] for a in arrays]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.num_elements = sum(self.sizes)
        self.dtypes = _dtypes(model, arrays)
        self.names = _names(model, self._structure, len(arrays))

    @property
    def is_single(self) -> bool:
        """Whether there is one input."""
        return len(self.sizes) == 1

    def parts(self, x: Any, name: str = "x") -> list[np.ndarray]:
        """Takes rows apart, checking that they look like the example."""
        arrays = self._arrays(given_rows(x, name, self._declared), name)
        found = [a.shape[1:] for a in arrays]
        expected = f"rows of the shapes {self.shapes}, as those of the background are"
        require(found == self.shapes, name, found, expected)
        # -1 is not possible for arrays of 0 rows, and the sizes are known.
        flat = (a.reshape(len(a), n) for a, n in zip(arrays, self.sizes, strict=True))
        return [_cast(a, d, name) for a, d in zip(flat, self.dtypes, strict=True)]

    def assemble(self, parts: Sequence[Tensor]) -> Any:
        """Puts parts, tensors `(rows, elements)`, together to what the model takes."""
        shaped = [
            tf.reshape(part, (-1, *shape))
            for part, shape in zip(parts, self.shapes, strict=True)
        ]
        return self.arranged(shaped)

    def arranged(self, arrays: Sequence[Any]) -> Any:
        """The inputs, one after the other, in the structure that the model takes."""
        return keras.tree.pack_sequence_as(self._structure, list(arrays))

    @property
    def numpy_dtypes(self) -> list[Any]:
        """The dtypes of the parts."""
        return [_numpy_dtype(dtype) for dtype in self.dtypes]

    def split(self, values: np.ndarray, axis: int = 1) -> list[np.ndarray]:
        """Splits an axis of all elements into those of the parts."""
        return np.split(values, np.cumsum(self.sizes)[:-1], axis=axis)

    def element_names(self) -> list[str]:
        """Names the elements: columns, or the name of the part with an index."""
        names = []
        for part, shape, columns in zip(
            self.names, self.shapes, self.columns, strict=True
        ):
            prefix = "" if self.is_single and shape else part
            if columns is not None and (len(columns),) == shape:
                names += [f"{part}[{c}]" if prefix else c for c in columns]
            else:
                names += [_element_name(prefix, index) for index in np.ndindex(*shape)]
        return names

    def frame_rows(self, x: Any) -> Any:
        """The rows of a DataFrame as they are, in the order of the elements."""
        return (x[self.names] if self._by_column else x).to_numpy()

    def _arrange(self, x: Any) -> Any:
        """A DataFrame for a model of columns as these; all else as it is."""
        if hasattr(x, "columns") and self._by_column:
            return self._columns_of(x)
        return x

    def _arrays(self, x: Any, name: str) -> list[np.ndarray]:
        x = self._arrange(x)
        structure = _structure(x)
        require(
            structure == self._structure,
            name,
            structure,
            f"of the structure {self._structure}, as the background is",
        )
        arrays = [np.asarray(a) for a in keras.tree.flatten(x)]
        rows = {len(a) if a.ndim else 0 for a in arrays}
        valid = len(rows) == 1 and rows != {0}
        require(
            valid, name, sorted(rows), "of one row or more, equally many everywhere"
        )
        if len(arrays) == len(self._declared):
            for array, tensor in zip(arrays, self._declared, strict=True):
                _require_rows(array, tensor.shape[1:], name)
        return arrays


def num_rows(parts: Sequence[np.ndarray]) -> int:
    """How many rows the parts have."""
    return len(parts[0])


def take(parts: Sequence[Any], rows: Any) -> list[Any]:
    """Some rows of all parts."""
    return [part[rows] for part in parts]


def _structure(x: Any) -> Any:
    # Numbers in place of the arrays: structures that are equal compare as equal.
    return keras.tree.map_structure(lambda _: 0, x)


def _declared(model: keras.Model) -> list[Any]:
    """The symbolic inputs of a model, in the order of `keras.tree`, if it has any."""
    return keras.tree.flatten(getattr(model, "inputs", None) or [])


def _takes_columns(model: keras.Model) -> bool:
    """Whether a model wants a dictionary of inputs, such as of columns."""
    return isinstance(getattr(model, "input", None), dict)


def _columns_of(frame: Any) -> dict[str, np.ndarray]:
    return {column: frame[column].to_numpy() for column in frame.columns}


def _columns(x: Any) -> list[str] | None:
    return [str(c) for c in x.columns] if hasattr(x, "columns") else None


def _require_rows(array: np.ndarray, shape: Sequence[int | None], name: str) -> None:
    """Raises if these are no rows of that shape, give or take an axis of length 1."""
    fitting = [tuple(shape), (*shape, 1)]
    if shape and shape[-1] == 1:
        fitting.append(tuple(shape[:-1]))
    one = array.ndim == len(shape)
    hint = "A single row needs an axis of rows, as row[None] has it." if one else ""
    expected = f"rows of the shape {tuple(shape)}"
    fits = any(_fits(array.shape[1:], own) for own in fitting)
    require(fits, name, array, expected, hint)


def _fits(found: Sequence[int], shape: Sequence[int | None]) -> bool:
    return len(found) == len(shape) and all(
        n in (None, m) for n, m in zip(shape, found, strict=True)
    )


def _dtypes(model: keras.Model, arrays: Sequence[np.ndarray]) -> list[str]:
    declared = _declared(model)
    if len(declared) == len(arrays):
        return [keras.backend.standardize_dtype(t.dtype) for t in declared]
    wide = isinstance(model, PythonModel)
    return [_natural_dtype(a, wide) for a in arrays]


def _natural_dtype(array: np.ndarray, wide: bool) -> str:
    if array.dtype.kind == "f" and not wide:
        return keras.config.floatx()
    return "string" if array.dtype.kind in "OSU" else array.dtype.name


def _cast(array: np.ndarray, dtype: str, name: str) -> np.ndarray:
    expected = f"of {dtype}, as the model and the background have it"
    try:
        found = array.astype(_numpy_dtype(dtype))
    except (TypeError, ValueError):
        texts = [x for x in array.ravel()[:1000] if isinstance(x, str)][:1]
        require(False, name, texts or array, expected)
        raise
    if found.dtype.kind in "iu" and array.dtype.kind == "f":
        odd = array[found != array][:1]
        require(not odd.size, name, odd.tolist(), expected)
    return found


def _numpy_dtype(dtype: str) -> Any:
    if dtype == "string":
        return np.dtype(object)
    # NumPy has no bfloat16; the layers cast by themselves.
    return np.dtype("float32" if dtype == "bfloat16" else dtype)


def _names(model: keras.Model, structure: Any, count: int) -> list[str]:
    if isinstance(structure, dict):
        return [str(key) for key in sorted(structure)]
    declared = [t.name for t in _declared(model)]
    return declared if len(declared) == count else [f"input_{i}" for i in range(count)]


def _element_name(prefix: str, index: tuple[int, ...]) -> str:
    if not index:
        return prefix
    place = ",".join(map(str, index))
    if prefix:
        return f"{prefix}[{place}]"
    return f"feature {place}" if len(index) == 1 else f"[{place}]"
