"""What goes into a model: taken apart into flat arrays, and put together again."""

import math
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_ext._core._checks import require
from keras_ext._core._typing import Data, Tensor
from keras_ext.explain._given_rows import given_rows
from keras_ext.explain._pairing import Pairing, declared
from keras_ext.explain._python_model import PythonModel

# What is absent of a row is what the background has at the same place.
_PAD = (
    "Sequences are compared step by step. Pass a background of one step, which stands "
    "for as many as the rows have, or pad both, as keras.utils.pad_sequences does."
)


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
        shapes: The shape of one row of each part, as it was given.
        model_shapes: The same as the model declares it, which may have an axis of
            length 1 more or less.
        sizes: The number of elements of each part.
        columns: The names of the columns of each part that came as a DataFrame, else
            None.

    Raises:
        ValueError: If the rows are none, or not equally many.
    """

    def __init__(
        self, model: keras.Model, example: Data, name: str = "background"
    ) -> None:
        example = given_rows(example, name, declared(model))
        self._pairing = Pairing(model, example, name)
        self._declared = [
            self._pairing.declared[i] for i in self._pairing.order[: _count(model)]
        ]
        columns = self._pairing.columns or []
        self.columns = [columns[i] for i in self._pairing.order]
        arrays = self._arrays(example, name)
        self.shapes = [a.shape[1:] for a in arrays]
        self.model_shapes = _model_shapes(self.shapes, self._declared)
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.num_elements = sum(self.sizes)
        self.dtypes = _dtypes(model, self._declared, arrays)
        self.names = self._named(example)

    @property
    def declared_steps(self) -> list[int | None]:
        """The first axis of a row of each part as the model declares it.

        None where it takes any length, 0 where it declares nothing.
        """
        if len(self._declared) != len(self.shapes):
            return [0] * len(self.shapes)
        return [
            tensor.shape[1] if len(tensor.shape) > 1 else 0 for tensor in self._declared
        ]

    @property
    def is_single(self) -> bool:
        """Whether there is one input."""
        return len(self.sizes) == 1

    def parts(self, x: Data, name: str = "x") -> list[np.ndarray]:
        """Takes rows apart, checking that they look like the example."""
        arrays = self._arrays(given_rows(x, name, self._pairing.declared), name)
        found = [a.shape[1:] for a in arrays]
        expected = f"rows of the shapes {self.shapes}, as those of the background are"
        hint = _PAD if self._is_longer_or_shorter(found) else ""
        require(found == self.shapes, name, found, expected, hint)
        # -1 is not possible for arrays of 0 rows, and the sizes are known.
        flat = (a.reshape(len(a), n) for a, n in zip(arrays, self.sizes, strict=True))
        return [_cast(a, d, name) for a, d in zip(flat, self.dtypes, strict=True)]

    def row_shapes(self, x: Data, name: str = "x") -> list[tuple[int, ...]]:
        """The shape of one row of each part of some rows."""
        arrays = self._arrays(given_rows(x, name, self._pairing.declared), name)
        return [a.shape[1:] for a in arrays]

    def assemble(self, parts: Sequence[Tensor]) -> Data:
        """Puts parts, tensors `(rows, elements)`, together to what the model takes."""
        return self.arranged(self.shaped(parts))

    def shaped(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """Parts, tensors `(rows, elements)`, in the shapes that the model takes."""
        return [
            tf.reshape(part, (-1, *shape))
            for part, shape in zip(parts, self.model_shapes, strict=True)
        ]

    def arranged(self, arrays: Sequence[np.ndarray | Tensor]) -> Data:
        """The inputs, one after the other, in the structure that the model takes."""
        return self._pairing.packed(arrays)

    @property
    def numpy_dtypes(self) -> list[np.dtype]:
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

    def frame_rows(self, x: Data) -> Data:
        """The rows of a DataFrame as they are, in the order of the elements."""
        return self._pairing.frame_rows(x)

    def for_predict(self, x: Data) -> Data:
        """Rows as the user gave them, as far as Keras takes that."""
        return self._pairing.for_predict(given_rows(x, "x", self._pairing.declared))

    def _is_longer_or_shorter(self, found: Sequence[tuple[int, ...]]) -> bool:
        """Whether only first axes differ, those of steps."""
        return [shape[1:] for shape in found] == [shape[1:] for shape in self.shapes]

    def _named(self, example: Data) -> list[str]:
        names = self._pairing.names
        if names is None and isinstance(example, dict):
            flat = keras.tree.flatten_with_path(example)
            names = [".".join(map(str, path)) for path, _ in flat]
        count = len(self.shapes)
        if names is None or len(names) != count:
            return [f"input_{i}" for i in range(count)]
        return [names[i] for i in self._pairing.order]

    def _arrays(self, x: Data, name: str) -> list[np.ndarray]:
        leaves = self._pairing.leaves(x, name)
        arrays = [np.asarray(leaves[i]) for i in self._pairing.order]
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


def take(parts: Sequence[np.ndarray], rows: Data) -> list[np.ndarray]:
    """Some rows of all parts."""
    return [part[rows] for part in parts]


def _count(model: keras.Model | PythonModel) -> int:
    """How many inputs a model declares."""
    return len(declared(model))


def _model_shapes(
    shapes: Sequence[tuple[int, ...]], inputs: Sequence[keras.KerasTensor]
) -> list[tuple[int, ...]]:
    """The shapes that Keras would bring rows of these shapes to.

    It does so within the model, where it could not be told from what the model does.
    """
    if len(inputs) != len(shapes):
        return list(shapes)
    found = []
    for shape, tensor in zip(shapes, inputs, strict=True):
        more = len(tensor.shape) - 1 - len(shape)
        found.append((*shape, 1) if more == 1 else shape[: len(shape) + more])
    return found


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


def _dtypes(
    model: keras.Model | PythonModel,
    inputs: Sequence[keras.KerasTensor],
    arrays: Sequence[np.ndarray],
) -> list[str]:
    if len(inputs) == len(arrays):
        return [keras.backend.standardize_dtype(t.dtype) for t in inputs]
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


def _numpy_dtype(dtype: str) -> np.dtype:
    if dtype == "string":
        return np.dtype(object)
    # NumPy has no bfloat16; the layers cast by themselves.
    return np.dtype("float32" if dtype == "bfloat16" else dtype)


def _element_name(prefix: str, index: tuple[int, ...]) -> str:
    if not index:
        return prefix
    place = ",".join(map(str, index))
    if prefix:
        return f"{prefix}[{place}]"
    return f"feature {place}" if len(index) == 1 else f"[{place}]"
