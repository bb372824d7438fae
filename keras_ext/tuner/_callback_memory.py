"""What callbacks know, as plain data: for a training that goes on in a new process."""

import inspect
from collections.abc import Sequence

import keras
import numpy as np

from keras_ext._core._typing import Record
from keras_ext._fit._copyable_callback import CopyableCallback

_PLAIN = (bool, int, float, str, type(None), np.ndarray, np.generic)


def memory_of_callbacks(callbacks: Sequence[keras.callbacks.Callback]) -> list[Record]:
    """The attributes of callbacks that are numbers, texts, arrays and lists of them.

    As how long Keras's `EarlyStopping` has waited, and its best weights. Callbacks of
    keras_ext are saved with the model.
    """
    known = [c for c in callbacks if not isinstance(c, CopyableCallback)]
    return [_memory_of(callback) for callback in known]


def _memory_of(callback: keras.callbacks.Callback) -> Record:
    # Arguments are given again, and some change once: Keras turns the sign of
    # `min_delta` when it first knows what is better.
    given = {*inspect.signature(type(callback)).parameters, "params"}
    attributes = vars(callback).items()
    return {n: v for n, v in attributes if n not in given and _is_data(v)}


def recall_callbacks(
    callbacks: Sequence[keras.callbacks.Callback], memories: Sequence[Record]
) -> None:
    """Gives callbacks, made as before, what they knew."""
    known = [c for c in callbacks if not isinstance(c, CopyableCallback)]
    for callback, memory in zip(known, memories, strict=False):
        for name, value in memory.items():
            if name in vars(callback):
                vars(callback)[name] = value


def _is_data(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_data, value))
    if isinstance(value, dict):
        return all(isinstance(k, str | int | float) for k in value) and all(
            map(_is_data, value.values())
        )
    return isinstance(value, _PLAIN)
