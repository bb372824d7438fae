"""Functions of arrays and estimators of scikit-learn, in the place of a Keras model."""

import inspect
from typing import Protocol, runtime_checkable

import keras
import numpy as np
import tensorflow as tf

from keras_ext._core._checks import require
from keras_ext._core._typing import Data, Function, Tensor

_FORMS = "a keras.Model, a function of rows, or an estimator of scikit-learn"
# Tensors have no missing texts.
_MISSING = "nan"


@runtime_checkable
class Estimator(Protocol):
    """What predicts as the estimators of scikit-learn do."""

    def predict(self, rows: Data, /) -> np.ndarray:
        """The outputs of rows."""


def as_model(
    model: keras.Model | Function | Estimator, rows: Data
) -> "keras.Model | PythonModel":
    """A Keras model as it is; anything else that predicts so that graphs can call it.

    Args:
        model: A Keras model; a function from rows, in the form in which they are given,
            to `(rows,)` or `(rows, outputs)`; or something with `predict_proba` or
            `predict`, such as a pipeline of scikit-learn.
        rows: Some rows, as the model takes them.

    Raises:
        ValueError: If it is none of these.
    """
    if isinstance(model, keras.Model):
        return model
    methods = [getattr(model, name, None) for name in ("predict_proba", "predict")]
    functions = [f for f in (*methods, model) if callable(f)]
    valid = bool(functions) and not isinstance(model, type)
    require(valid, "model", model, _FORMS)
    require(_takes_rows(functions[0]), "model", model, "a function of rows")
    return PythonModel(functions[0], rows)


def _takes_rows(function: Function) -> bool:
    """Whether a function can be called with one argument, as far as it says."""
    try:
        inspect.signature(function).bind(None)
    except ValueError:  # one that is not written in Python says nothing
        return True
    except TypeError:
        return False
    return True


class PythonModel:
    """A function of arrays or DataFrames that graphs can call.

    Args:
        function: The function.
        rows: Rows as it takes them; a DataFrame says which columns there are.

    Attributes:
        input: For a DataFrame its columns, as those of a Keras model of columns.
        classes: The names of the outputs, if the function is that of a classifier.
    """

    def __init__(self, function: Function, rows: Data) -> None:
        self._function = function
        self._empty = rows[:0] if hasattr(rows, "columns") else None
        self.input = None if self._empty is None else dict.fromkeys(self._empty.columns)
        owner = getattr(function, "__self__", None)
        of_classes = getattr(function, "__name__", "") == "predict_proba"
        classes = getattr(owner, "classes_", None) if of_classes else None
        self.classes = None if classes is None else [str(name) for name in classes]
        self._count: int | None = None

    def columns_of(self, frame: Data) -> dict[str, np.ndarray]:
        """The columns of a DataFrame, texts with a word for those that are missing."""
        found = {}
        for name in frame.columns:
            values = frame[name].to_numpy()
            if values.dtype.kind not in "biuf":
                missing = np.asarray(frame[name].isna())
                values = np.where(missing, _MISSING, values.astype(object))
            found[name] = values
        return found

    def __call__(self, inputs: Data, training: bool = False) -> Tensor:
        if tf.executing_eagerly():  # where its own errors can be seen
            return tf.constant(self._outputs(*keras.tree.flatten(inputs), like=inputs))
        columns = tf.numpy_function(
            lambda *parts: self._outputs(*parts, like=inputs),
            keras.tree.flatten(inputs),
            tf.float32,
        )
        # A `numpy_function` loses it. `ModelFunction` has called this eagerly before.
        return tf.ensure_shape(columns, (None, self._count))

    def _outputs(self, *parts: Tensor, like: Data) -> np.ndarray:
        """The outputs of rows, `(rows, outputs)`, in float32."""
        # Only of a DataFrame are missing texts written as a word.
        missing = None if self._empty is None else _MISSING
        arrays = [_decoded(np.asarray(part), missing) for part in parts]
        rows = keras.tree.pack_sequence_as(like, arrays)
        if self._empty is not None:
            # Columns of categories, for one, become texts on their way through
            # TensorFlow.
            frame = type(self._empty)({name: rows[name] for name in self._empty})
            rows = frame.astype(self._empty.dtypes.to_dict())
        found = np.asarray(self._function(rows), "float32")
        valid = found.ndim in (1, 2) and len(found) == len(arrays[0])
        rule = f"a function from rows to {len(arrays[0])} rows of outputs"
        require(valid, "model", found, rule)
        found = found.reshape(len(found), -1)
        self._count = found.shape[1]
        return found


def _decoded(part: np.ndarray, missing: str | None) -> np.ndarray:
    """Texts as Python has them, which TensorFlow gives as bytes."""
    if part.dtype.kind not in "OS":
        return part
    texts = [x.decode() if isinstance(x, bytes) else x for x in part.ravel()]
    if missing is not None:
        texts = [np.nan if x == missing else x for x in texts]
    found = np.array(texts, object)
    return found.reshape(part.shape)
