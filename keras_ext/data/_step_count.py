"""A number of steps that can change while an epoch runs."""

import functools
from typing import Any

from keras_ext.data._batch_pipeline import Draws


@functools.total_ordering
class StepCount:
    """Looks like an integer, and is counted anew whenever it is looked at.

    Keras asks for the number of steps once per `fit`, compares it with the steps done
    before each one, and gives it to the progress bar, which divides by it.

    Args:
        draws: What counts them.
    """

    def __init__(self, draws: Draws) -> None:
        self.draws = draws

    def __index__(self) -> int:
        # Keras makes a `range` of it, and leaves that when the steps are done.
        return self.draws.most

    def __int__(self) -> int:
        return self.draws.count()

    def __float__(self) -> float:
        return float(int(self))

    def __bool__(self) -> bool:
        return int(self) != 0

    def __eq__(self, other: Any) -> bool:
        return bool(int(self) == other)

    def __lt__(self, other: Any) -> bool:
        return bool(int(self) < other)

    def __hash__(self) -> int:
        return hash(int(self))

    def __add__(self, other: Any) -> Any:
        return int(self) + other

    def __sub__(self, other: Any) -> Any:
        return int(self) - other

    def __rsub__(self, other: Any) -> Any:
        return other - int(self)

    def __mul__(self, other: Any) -> Any:
        return int(self) * other

    def __truediv__(self, other: Any) -> Any:
        return int(self) / other

    def __rtruediv__(self, other: Any) -> Any:
        return other / int(self)

    def __floordiv__(self, other: Any) -> Any:
        return int(self) // other

    __radd__ = __add__
    __rmul__ = __mul__

    def __repr__(self) -> str:
        return str(int(self))

    def __reduce__(self) -> Any:
        # A copy, as in a saved History, is the plain number.
        return int, (int(self),)
