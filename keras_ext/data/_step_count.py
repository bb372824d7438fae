"""A number of steps that can change while an epoch runs."""

import functools

import keras

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
        return float(self.draws.count())

    def __bool__(self) -> bool:
        # Also if there are none: Keras takes 0 for a number that is not known.
        return True

    def __eq__(self, other: object) -> bool:
        return bool(self.draws.count() == other)

    def __lt__(self, other: float) -> bool:
        return bool(self.draws.count() < other)

    def __le__(self, other: float) -> bool:
        # Keras asks this before each step, and `total_ordering` would count twice.
        return bool(self.draws.count() <= other)

    def __hash__(self) -> int:
        return hash(self.draws.count())

    def __add__(self, other: float) -> float:
        return self.draws.count() + other

    def __sub__(self, other: float) -> float:
        return self.draws.count() - other

    def __rsub__(self, other: float) -> float:
        return other - self.draws.count()

    def __mul__(self, other: float) -> float:
        return self.draws.count() * other

    def __truediv__(self, other: float) -> float:
        return self.draws.count() / other

    def __rtruediv__(self, other: float) -> float:
        return other / self.draws.count()

    def __floordiv__(self, other: float) -> float:
        return self.draws.count() // other

    __radd__ = __add__
    __rmul__ = __mul__

    def __repr__(self) -> str:
        return str(self.draws.count())

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        # A copy, as in a saved History, is the plain number.
        return int, (self.draws.count(),)


def leave_plain_steps(model: keras.Model) -> None:
    """Puts a plain number where `fit` has left one that follows the data."""
    params = getattr(getattr(model, "history", None), "params", None) or {}
    if isinstance(params.get("steps"), StepCount):
        params["steps"] = int(params["steps"])
