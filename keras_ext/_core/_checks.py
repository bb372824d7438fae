"""The one place where the wording of argument errors lives."""

import math
import numbers
from typing import Any


def require(
    condition: bool, name: str, value: Any, expected: str, hint: str = ""
) -> None:
    """Raises a `ValueError` that names the argument, the rule and the value.

    Args:
        condition: The rule, stated positively: what a *valid* value satisfies.
        name: The argument, spelled as in the signature.
        value: What the caller passed.
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
        message = f"`{name}` must be {expected}. Received: {name}={value!r}."
        raise ValueError(f"{message} {hint}".rstrip())


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
