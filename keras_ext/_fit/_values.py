"""The values of variables, kept and given back."""

import warnings
from collections.abc import Sequence

import keras
import numpy as np

from keras_ext._core._typing import Variable


def values_of(variables: Sequence[Variable]) -> list[np.ndarray]:
    """The values of variables, as arrays of their own."""
    return [np.array(keras.ops.convert_to_numpy(v)) for v in variables]


def assign_values(
    variables: Sequence[Variable], values: Sequence[np.ndarray], whose: str
) -> None:
    """Gives variables the values that those of another object had.

    If they do not fit, it warns and leaves them, as Keras does when it loads a model.

    Args:
        variables: The variables.
        values: Their values, in the same order.
        whose: What they are, for the warning.
    """
    shapes = [tuple(v.shape) for v in variables]
    saved = [np.shape(value) for value in values]
    if shapes != saved:
        warnings.warn(
            f"Skipping what was saved for {whose}: it has {len(saved)} variables, and "
            f"here are {len(shapes)}, or others. Are the callbacks those of the "
            "training that goes on, with the same arguments?",
            stacklevel=2,
        )
        return
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
