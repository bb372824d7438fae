"""Measuring without a trace."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import keras

from keras_ext._core._typing import Variable


@contextmanager
def kept_values(variables: Sequence[Variable]) -> Iterator[None]:
    """Gives variables back, in the end, the values that they have now."""
    kept = [(v, keras.ops.convert_to_numpy(v)) for v in variables]
    try:
        yield
    finally:
        for variable, value in kept:
            variable.assign(value)
