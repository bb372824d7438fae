"""How much the weights of trials may take."""

import contextlib
import os
from collections.abc import Sequence


def keep_within(quota: float, paths: Sequence[str]) -> None:
    """Removes files until those that are left are no larger together.

    Args:
        quota: How many bytes they may take.
        paths: The files, the first of which is never removed, and the last is first.
            Those that are not there take nothing.
    """
    sizes = [_size(path) for path in paths]
    total = sum(sizes)
    # From the worst on; the first one, the best, always stays.
    for path, size in list(zip(paths, sizes, strict=True))[:0:-1]:
        if total <= quota:
            return
        with contextlib.suppress(FileNotFoundError):  # another worker was faster
            os.remove(path)
        total -= size


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return 0
