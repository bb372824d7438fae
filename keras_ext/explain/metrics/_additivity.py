"""Whether values add up to the output."""

import keras
import numpy as np
import tensorflow as tf

from keras_ext._core._checks import require
from keras_ext._core._typing import Data, Explanation
from keras_ext.explain._explainer import Explainer
from keras_ext.explain._subject import Subject


def additivity(
    explanation: Explanation, explainer: Explainer, *, x: Data
) -> np.ndarray:
    """Measures what the base value and all values together miss the output by.

    The output is what `model.predict` says of the rows as they are given, so that it
    shows, too, if they were taken for something else. The miss is relative to the
    largest size of the output in the rows and in the background, so that it means the
    same for probabilities and for log-odds. Methods of `Explainer` stay below 1e-5, or
    warn. A low one does not make an explanation right, a high one makes it wrong.

    Args:
        explanation: A `shap.Explanation` by any method.
        explainer: An explainer of the same model, outputs and groups.
        x: The explained rows, as the model takes them.

    Returns:
        `(rows,)`, or `(rows, outputs)` if several are explained; 0 is perfect.

    Raises:
        ValueError: If the explanation is not of these rows, players and outputs.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> explainer = kx.explain.Explainer(model, background=np.zeros((1, 3)))
        >>> x = np.ones((2, 3))
        >>> miss = kx.explain.metrics.additivity(explainer(x), explainer, x=x)
        >>> print(miss.shape, miss.max() < 1e-5)
        (2,) True
    """
    subject = Subject(explanation, explainer, x)
    rows = subject.rows
    given = explanation.base_values is not None
    require(given, "explanation.base_values", None, "there, as the values add up to it")
    base = np.reshape(explanation.base_values, (-1, rows.which.shape[1]))
    outputs = np.take_along_axis(_predicted(subject, x), rows.which, axis=1)
    miss = np.abs(base + subject.values.sum(axis=1) - outputs)
    largest = np.abs(rows.values).max(axis=0), np.abs(rows.background).max(axis=0)
    scale = np.maximum(*largest)[rows.which]
    return subject.shaped(miss / np.where(scale > 0, scale, 1.0))


def _predicted(subject: Subject, x: Data) -> np.ndarray:
    """All outputs that are explained, of rows as Keras takes them by itself."""
    function = subject.problem.function
    if not isinstance(function.model, keras.Model):
        return subject.rows.values
    given = keras.tree.map_structure(_tensor, function.inputs.for_predict(x))
    raw = function.model.predict(given, verbose=0)
    found: np.ndarray = function.outputs_of(raw).numpy()
    return found


def _tensor(array: Data) -> Data:
    """Texts as tensors, which Keras does not make of them."""
    array = np.asarray(array)
    return tf.constant(array) if array.dtype.kind in "OSU" else array
