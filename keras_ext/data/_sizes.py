"""The sizes that batches may have."""

from collections.abc import Sequence

import numpy as np

from keras_ext._core._checks import integer, integers, is_integer, require

_GROWTH = 32


def chosen_sizes(
    sizes: Sequence[int] | None, first: int, most: int | None, num_samples: int
) -> tuple[int, ...]:
    """The given sizes, or else the doubles of the first one, up to the largest."""
    if sizes is None:
        return doubled(first, min(most or _GROWTH * first, num_samples))
    require(most is None, "max_batch_size", most, "None if there are sizes")
    return checked_sizes(sizes, first)


def doubled(first: int, most: int) -> tuple[int, ...]:
    """The first size, twice as much and so on; none but the first is above `most`."""
    # A ratio has as many bits as there are powers of two up to it.
    return tuple(first * 2**i for i in range(max(most // first, 1).bit_length()))


def checked_sizes(sizes: Sequence[int], first: int) -> tuple[int, ...]:
    """The sizes that are given, sorted; raises unless the first one is among them."""
    given = integers(sizes, "sizes", low=1)
    found = tuple(sorted({integer(size, "sizes", low=1) for size in given}))
    require(first in found, "batch_size", first, f"one of sizes={list(found)}")
    return found


def checked_shuffle(shuffle: bool | int) -> bool | int:
    """Whether to shuffle, or in a buffer of how many samples."""
    if is_integer(shuffle):
        return int(integer(shuffle, "shuffle", low=0))
    valid = isinstance(shuffle, bool | np.bool_)
    require(valid, "shuffle", shuffle, "True, False or an integer >= 0")
    return bool(shuffle)
