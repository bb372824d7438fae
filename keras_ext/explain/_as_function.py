"""A Keras model as a function that any explainer can call."""

from collections.abc import Sequence

import keras
import numpy as np

from keras_ext._core._checks import flag, require
from keras_ext._core._typing import Data, OutputChoice
from keras_ext.explain._arguments import number_or_auto
from keras_ext.explain._evaluation import Evaluation
from keras_ext.explain._inputs import Inputs
from keras_ext.explain._model_function import ModelFunction


class FlatFunction:
    """A compiled function from a matrix of numbers to outputs.

    Attributes:
        feature_names: The names of the columns of the matrix.
        output_names: The names of the outputs.
    """

    def __init__(self, inputs: Inputs, evaluation: Evaluation) -> None:
        self._inputs = inputs
        self._evaluate = evaluation
        self.feature_names = inputs.element_names()
        self.output_names = list(evaluation.function.names)

    def pack(self, x: Data) -> np.ndarray:
        """Lays what the model takes out flat: `(rows, elements)`, in float64."""
        parts = self._inputs.parts(x)
        for name, part in zip(self._inputs.names, parts, strict=True):
            rule = f"numbers (input {name!r})"
            require(part.dtype.kind in "biuf", "x", part.dtype.name, rule)
        return np.concatenate([part.astype("float64") for part in parts], axis=1)

    def unpack(self, flat: np.ndarray) -> Data:
        """Puts such a matrix together to what the model takes."""
        parts = zip(self._parts(flat), self._inputs.shapes, strict=True)
        shaped = [part.reshape(len(part), *shape) for part, shape in parts]
        return self._inputs.arranged(shaped)

    def __call__(self, flat: np.ndarray) -> np.ndarray:
        """The outputs, `(rows,)` or `(rows, outputs)`."""
        columns = self._evaluate(self._parts(flat))
        return columns[:, 0] if columns.shape[1] == 1 else columns

    def _parts(self, flat: np.ndarray) -> list[np.ndarray]:
        matrix = np.asarray(flat)
        size = self._inputs.num_elements
        valid = matrix.ndim == 2 and matrix.shape[1] == size
        require(valid, "flat", matrix.shape, f"of the shape (rows, {size})")
        return [
            # Masks may leave 2.9999999 of a token.
            (np.rint(part) if np.dtype(dtype).kind in "iu" else part).astype(dtype)
            for part, dtype in zip(
                self._inputs.split(matrix), self._inputs.numpy_dtypes, strict=True
            )
        ]


def as_function(
    model: keras.Model,
    example: Data,
    *,
    outputs: OutputChoice = None,
    output_names: Sequence[str] | None = None,
    batch_size: int | str = "auto",
    jit: bool = False,
) -> FlatFunction:
    """Makes a function of a model that any explainer of shap, or others, can call.

    It takes a matrix, whose columns are all the elements of all inputs, and is compiled
    once, for any number of rows. That makes it a hundred times faster than
    `model.predict` where an explainer calls it often.

    Args:
        model: A built model of any kind.
        example: Rows as the model takes them, one at least: an array, or a list, tuple
            or dictionary of arrays, or a DataFrame.
        outputs: Which outputs, as for `Explainer`; other than `"top"`. None means all.
        output_names: The names of all outputs. None takes them from the model.
        batch_size: How many rows the model gets at a time, or `"auto"` for a number
            that follows from the memory that a row takes. Defaults to `"auto"`.
        jit: Whether to compile with XLA, for each number of rows. Defaults to
            `False`.

    Returns:
        A function from `(rows, elements)` to `(rows,)`, or `(rows, outputs)` if there
        are several. Its `pack` makes such a matrix of what the model takes, and
        `unpack` the reverse; it has `feature_names` and `output_names`.

    Raises:
        ValueError: If an argument is not of this form.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> a, b = keras.Input((2,), name="a"), keras.Input((1,), name="b")
        >>> model = keras.Model({"a": a, "b": b}, keras.layers.Concatenate()([a, b]))
        >>> x = {"a": np.array([[1.0, 2.0]]), "b": np.array([[3.0]])}
        >>> function = kx.explain.as_function(model, x, outputs=2)
        >>> function.feature_names
        ['a[0]', 'a[1]', 'b[0]']
        >>> print(function.pack(x), function(function.pack(x)))
        [[1. 2. 3.]] [3.]
    """
    require(isinstance(model, keras.Model), "model", model, "a keras.Model")
    size = number_or_auto(batch_size, "batch_size")
    jit = flag(jit, "jit")
    inputs = Inputs(model, example, "example")
    parts = inputs.parts(example, "example")
    function = ModelFunction(model, inputs, parts, outputs, output_names)
    rule = 'other than "top": each row would have outputs of its own'
    require(function.top is None, "outputs", outputs, rule)
    return FlatFunction(inputs, Evaluation(function, parts, size, jit))
