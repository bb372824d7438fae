"""Numbers as Keras's progress bar prints them."""

from collections.abc import Mapping
from typing import Self

from keras_ext._core._checks import is_integer
from keras_ext._core._typing import Record


def for_progress_bar(logs: Mapping[str, object]) -> Record:
    """Returns logs whose integers a progress bar prints as integers.

    Keras prints every value with four decimals, a batch of 64 samples as 64.0000.

    Args:
        logs: What a callback is told at the end of an epoch.
    """
    return {k: _Count(v) if is_integer(v) else v for k, v in logs.items()}


class _Count(float):
    """An integer that remains one when it is averaged over 1, and printed."""

    # What Keras does with it: `f"{value / 1:.4f}"`, after a look whether it is a float.
    def __truediv__(self, other: float) -> Self:
        return type(self)(float(self) / float(other))

    def __format__(self, spec: str) -> str:
        return str(int(self))
