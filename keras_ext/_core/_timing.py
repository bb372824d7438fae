"""How long something takes."""

import statistics
import time
from collections.abc import Callable

# The first calls prepare what later ones use.
_WARM_UP = 3


def milliseconds(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Times a function.

    Args:
        call: The function.
        repeats: Integer >= 3, how many calls are timed, after some that are not.

    Returns:
        The median, and half of the range that the middle half of the times is in; both
        in milliseconds.

    Examples:
        >>> from keras_ext._core._timing import milliseconds
        >>> median, spread = milliseconds(lambda: sum(range(1000)), repeats=5)
        >>> median > 0 and spread >= 0
        True
    """
    times = []
    for i in range(repeats + _WARM_UP):
        begin = time.perf_counter()
        call()
        times += [1000 * (time.perf_counter() - begin)] * (i >= _WARM_UP)
    first, middle, third = statistics.quantiles(times, n=4, method="inclusive")
    return middle, (third - first) / 2
