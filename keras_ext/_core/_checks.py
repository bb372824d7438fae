"""The one place where the wording of argument errors lives."""

import inspect
import math
import numbers
import reprlib
from collections.abc import Sequence
from typing import Any, TypeGuard

from keras_ext._core._typing import Data

# Together a message of a few lines, whatever came: never an array written out.
_LONGEST_VALUE = 140
_LONGEST_RULE = 180


def require(
    condition: bool, name: str, value: object, expected: str, hint: str = ""
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


def shown(value: object) -> str:
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

    def repr1(self, x: Data, level: int) -> str:
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


def is_number(value: object) -> TypeGuard[float]:
    """Whether `value` is a finite real number; `True` and `False` are not."""
    return (
        isinstance(value, numbers.Real)
        and not isinstance(value, bool)
        and math.isfinite(value)
    )


def is_integer(value: object) -> TypeGuard[int]:
    """Whether `value` is an integer of 64 bits; `True` and `False` are not."""
    # Variables and shapes hold no others, and would say so in words of their own.
    return (
        isinstance(value, numbers.Integral)
        and not isinstance(value, bool)
        and abs(int(value)) < 2**63
    )


def number(
    value: Any,
    name: str,
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    below: float | None = None,
    optional: bool = False,
) -> Any:
    """Returns a finite real number, as one of Python's; raises unless it is one.

    Args:
        value: What the caller passed.
        name: The argument.
        low: The smallest value that is allowed.
        above: What it has to be larger than.
        high: The largest value that is allowed.
        below: What it has to be smaller than.
        optional: Whether None is allowed, too.

    Raises:
        ValueError: If it is not, with the range in words.

    Examples:
        >>> from keras_ext._core._checks import number
        >>> number(0.5, "rate", low=0, below=1)
        0.5
        >>> number(1.0, "rate", low=0, below=1)
        Traceback (most recent call last):
        ValueError: `rate` must be a number in [0, 1). Received: rate=1.0.
    """
    if optional and value is None:
        return None
    within = is_number(value) and _is_within(value, low, above, high, below)
    expected = f"a number{_interval(low, above, high, below)}"
    require(within, name, value, expected + (" or None" if optional else ""))
    return value if type(value) in (int, float) else float(value)


def integer(
    value: Any,
    name: str,
    *,
    low: int | None = None,
    high: int | None = None,
    optional: bool = False,
) -> Any:
    """Returns an integer, as one of Python's; raises unless it is one.

    Args:
        value: What the caller passed.
        name: The argument.
        low: The smallest value that is allowed.
        high: The largest value that is allowed.
        optional: Whether None is allowed, too.

    Raises:
        ValueError: If it is not, with the range in words.
    """
    if optional and value is None:
        return None
    within = is_integer(value) and _is_within(value, low, None, high, None)
    expected = f"an integer{_interval(low, None, high, None)}"
    require(within, name, value, expected + (" or None" if optional else ""))
    return int(value)


def checked_seed(value: Any) -> Any:
    """Returns a `seed` as one of Python's integers, or None; raises if it is neither.

    What Keras, NumPy and TensorFlow all take.
    """
    require(
        value is None or (is_integer(value) and 0 <= value < 2**31),
        "seed",
        value,
        "an integer in [0, 2**31) or None",
    )
    return None if value is None else int(value)


def integers(
    value: Any, name: str, *, low: int | None = None, optional: bool = False
) -> Any:
    """Returns a list of integers, at least one, as a list of Python's.

    Args:
        value: What the caller passed: a list, a tuple, a range or an array.
        name: The argument.
        low: The smallest value that is allowed.
        optional: Whether None is allowed, too.

    Raises:
        ValueError: If it is not, with the range in words.
    """
    if optional and value is None:
        return None
    valid = isinstance(value, Sequence) or getattr(value, "ndim", None) == 1
    valid = valid and len(value) > 0
    valid = valid and all(
        is_integer(item) and _is_within(item, low, None, None, None) for item in value
    )
    expected = f"a list of integers{_interval(low, None, None, None)}"
    require(valid, name, value, expected + (" or None" if optional else ""))
    return [int(item) for item in value]


def flag(value: object, name: str) -> bool:
    """Returns True or False, also of NumPy's; raises if it is neither."""
    # Not by `==`: an array has no truth, and 1 is no flag.
    is_flag = isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")
    require(is_flag, name, value, "True or False")
    return bool(value)


def takes(value: object, count: int) -> bool:
    """Whether it is a function, and no class, that can be given so many arguments."""
    if not callable(value) or isinstance(value, type):
        return False
    try:
        inspect.signature(value).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # written in C: it does not say
        return True
    return True


def choice(
    value: Any, name: str, words: Sequence[str], *, optional: bool = False
) -> Any:
    """Returns one of some words; raises if it is none of them.

    Args:
        value: What the caller passed.
        name: The argument.
        words: What is allowed.
        optional: Whether None is allowed, too.

    Raises:
        ValueError: If it is none of them, with all of them.
    """
    if optional and value is None:
        return None
    quoted = [f'"{word}"' for word in words] + (["None"] if optional else [])
    *first, last = quoted
    expected = f"{', '.join(first)} or {last}" if first else last
    require(isinstance(value, str) and value in words, name, value, expected)
    return value


def texts(
    value: Any, name: str, count: int, of: str, *, more: bool = False
) -> list[str]:
    """Returns names or titles as a list of text; raises if there are not so many.

    Args:
        value: What the caller passed.
        name: The argument.
        count: How many there have to be.
        of: What they are for, completes "3 names, ...".
        more: Whether there may be more, of which the first are meant.

    Raises:
        ValueError: If it is no list, or of another length.
    """
    several = isinstance(value, list | tuple) or getattr(value, "shape", ()) != ()
    valid = several and (len(value) >= count if more else len(value) == count)
    require(valid, name, value, f"{count} {name.rpartition('_')[2]}, {of}")
    return [str(text) for text in value]


def _is_within(
    value: float,
    low: float | None,
    above: float | None,
    high: float | None,
    below: float | None,
) -> bool:
    return (
        (low is None or value >= low)
        and (above is None or value > above)
        and (high is None or value <= high)
        and (below is None or value < below)
    )


def _interval(
    low: float | None, above: float | None, high: float | None, below: float | None
) -> str:
    """The end of "a number ...", such as " in [0, 1)"."""
    low, above, high, below = map(_written, (low, above, high, below))
    # The stricter one of two.
    low = None if above is not None else low
    least = f"[{low}" if low is not None else f"({above}"
    most = f"{high}]" if high is not None else f"{below})"
    if "None" not in least + most:
        return f" in {least}, {most}"
    ends = ((">=", low), (">", above), ("<=", high), ("<", below))
    return "".join(f" {sign} {end}" for sign, end in ends if end is not None)


def _written(bound: float | None) -> Any:
    """A bound as it is written by hand: 1, not 1.0."""
    return f"{bound:g}" if isinstance(bound, float) else bound
