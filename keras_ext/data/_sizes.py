"""The sizes that batches may have."""

from typing import Any

import numpy as np

from keras_ext._core._checks import integer, is_integer, require


def doubled(first: int, most: int) -> tuple[int, ...]:
    """The first size, twice as much and so on; none but the first is above `most`."""
    return tuple(first * 2**i for i in range(max(most // first, 1).bit_length()))


def checked_sizes(sizes: Any, first: int) -> tuple[int, ...]:
    """The sizes that are given, sorted; raises unless the first one is among them."""
    valid = isinstance(sizes, list | tuple | np.ndarray) and len(sizes) > 0
    valid = valid and all(is_integer(s) and s >= 1 for s in sizes)
    require(valid, "sizes", sizes, "a list of integers >= 1")
    found = tuple(sorted({int(s) for s in sizes}))
    require(first in found, "batch_size", first, f"one of sizes={list(found)}")
    return found


def checked_shuffle(shuffle: Any) -> bool | int:
    """Whether to shuffle, or in a buffer of how many samples."""
    if is_integer(shuffle):
        return int(integer(shuffle, "shuffle", low=0))
    valid = isinstance(shuffle, bool | np.bool_)
    require(valid, "shuffle", shuffle, "True, False or an integer >= 0")
    return bool(shuffle)
