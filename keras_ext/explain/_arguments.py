"""Checks of arguments that explainers and maps share."""

import numpy as np
import tensorflow as tf

from keras_ext._core._checks import flag, is_integer, require
from keras_ext._core._typing import Data


def number_or_auto(value: int | str, name: str) -> int | None:
    """An integer >= 1, or None for `"auto"`; raises if it is neither."""
    if isinstance(value, str) and value == "auto":
        return None
    valid = is_integer(value) and value >= 1
    require(valid, name, value, 'an integer >= 1 or "auto"')
    return int(value)


def as_numbers(value: Data, name: str, expected: str) -> np.ndarray:
    """An array in float64; raises if these are no numbers."""
    try:
        return np.asarray(value, "float64")
    except (TypeError, ValueError):
        require(False, name, value, expected)
        raise


def is_compiled(jit: bool | str) -> bool:
    """Whether to compile with XLA, by `True`, `False` or `"auto"`."""
    if isinstance(jit, str) and jit == "auto":
        # On a CPU, XLA slows convolutions down, and takes seconds to compile.
        return any(d.device_type != "CPU" for d in tf.config.list_logical_devices())
    require(not isinstance(jit, str), "jit", jit, 'True, False or "auto"')
    return flag(jit, "jit")
