"""The one place where the wording of argument errors lives."""

import math
import numbers
import reprlib
from typing import Any

# Together a message of a few lines, whatever came: never an array written out.
_LONGEST_VALUE = 140
_LONGEST_RULE = 180


def require(
    condition: bool, name: str, value: Any, expected: str, hint: str = ""
) -> None:
    """Raises a `ValueError` that names the argument, the rule and the value.

    Args:
        condition: The rule, stated positively: what a *valid* value satisfies.
        name: The argument, spelled as in the signature.
        value: What the caller passed. Long ones are shortened, arrays are told by
            shape and dtype.
        expected: Completes the sentence "`name` must be ...".
        hint: Optional sentence that says how to fix it.

    Raises:
        ValueError: If `condition` is false.

    Examples:
        >>> from keras_ext._core._checks import require
        >>> require(-1 > 0, "rate", -1, "a number > 0")
        Traceback (most recent call last):
        ValueError: `rate` must be a number > 0. Received: rate=-1.
    """
    if not condition:
        expected, hint = cut(expected, _LONGEST_RULE), cut(hint, _LONGEST_RULE)
        message = f"`{name}` must be {expected}. Received: {name}={shown(value)}."
        raise ValueError(f"{message} {hint}".rstrip())


def shown(value: Any) -> str:
    """How a value is told in a message: as Python writes it, but never long.

    Examples:
        >>> import numpy as np
        >>> from keras_ext._core._checks import shown
        >>> shown({"x": np.zeros((60_000, 4)), "y": "a"})
        "{'x': <ndarray of shape (60000, 4), float64>, 'y': 'a'}"
    """
    return cut(_SHORT.repr(value), _LONGEST_VALUE)


def cut(text: str, longest: int) -> str:
    """The text, without its middle if it is longer than that."""
    if len(text) <= longest:
        return text
    tail = longest // 3
    return f"{text[: longest - tail - 3]}...{text[-tail:]}"


class _Short(reprlib.Repr):
    """Writes a few entries of what is long, and shapes in place of arrays."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = 10
        self.maxstring = self.maxother = _LONGEST_VALUE

    def repr1(self, x: Any, level: int) -> str:
        # What has axes, from any package; a NumPy scalar is written as a number.
        shape = () if isinstance(x, type) else getattr(x, "shape", ())
        if not isinstance(shape, tuple | list) and hasattr(shape, "as_list"):
            shape = tuple(shape) if shape.rank is not None else ("unknown",)
        if not isinstance(shape, tuple | list) or not len(shape):
            return super().repr1(x, level)
        sizes = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
        dtype = getattr(getattr(x, "dtype", None), "name", getattr(x, "dtype", ""))
        of = f"{type(x).__name__} of shape ({sizes})"
        return f"<{of}, {dtype}>" if dtype else f"<{of}>"


_SHORT = _Short()


def is_number(value: Any) -> bool:
    """Whether `value` is a finite real number; `True` and `False` are not."""
    return (
        isinstance(value, numbers.Real)
        and not isinstance(value, bool)
        and math.isfinite(value)
    )


def is_integer(value: Any) -> bool:
    """Whether `value` is an integer; `True` and `False` are not."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
