"""Groups of elements for explanations: squares of images, windows of time."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_ext._core._checks import integer, is_integer, require

__all__ = ["grid", "windows"]


def grid(shape: Sequence[int], size: int | Sequence[int]) -> np.ndarray:
    """Divides an image, or anything with axes, into rectangles.

    Args:
        shape: The shape of one row, such as `(height, width, channels)`. All that
            belongs to one place, the channels, is in one group.
        size: Integer >= 1, or one for each axis but the last: how many places a
            rectangle takes. Those at the border may be smaller.

    Returns:
        Integer array of this shape, the number of the rectangle of each element.

    Raises:
        ValueError: If the arguments are not of this form.

    Examples:
        >>> import keras_ext as kx
        >>> print(kx.explain.groups.grid((4, 4, 1), 2)[..., 0])
        [[0 0 1 1]
         [0 0 1 1]
         [2 2 3 3]
         [2 2 3 3]]
    """
    shape = _listed(shape)
    valid = len(shape) >= 2 and all(is_integer(n) and n > 0 for n in shape)
    require(valid, "shape", shape, "two or more integers >= 1, the last for channels")
    given: Any = size
    one = is_integer(given)
    sizes = (given,) * (len(shape) - 1) if one else _listed(given)
    valid = len(sizes) == len(shape) - 1 and all(is_integer(n) and n > 0 for n in sizes)
    expected = f"an integer >= 1, or {len(shape) - 1} of them"
    require(valid, "size", size, expected)
    labels: np.ndarray = np.zeros(shape[:-1], int)
    for axis, step in enumerate(sizes):
        count = -(-shape[axis] // step)
        place: np.ndarray = np.arange(shape[axis]) // step
        along = place.reshape([-1 if a == axis else 1 for a in range(len(sizes))])
        # As the digits of a number: row-major, and no label twice.
        labels = labels * count + along
    return np.repeat(labels[..., None], shape[-1], axis=-1)


def windows(shape: Sequence[int], length: int) -> np.ndarray:
    """Divides a sequence into windows of time.

    Args:
        shape: The shape of one row, `(steps,)` or `(steps, features)`. All features
            of one step are in one group.
        length: Integer >= 1, the number of steps of a window. The last one may be
            shorter.

    Returns:
        Integer array of this shape, the number of the window of each element.

    Raises:
        ValueError: If the arguments are not of this form.

    Examples:
        >>> import keras_ext as kx
        >>> kx.explain.groups.windows((5,), 2).tolist()
        [0, 0, 1, 1, 2]
    """
    shape = _listed(shape)
    valid = len(shape) in (1, 2) and all(is_integer(n) and n > 0 for n in shape)
    require(valid, "shape", shape, "(steps,) or (steps, features)")
    length = integer(length, "length", low=1)
    return np.broadcast_to(
        (np.arange(shape[0]) // length).reshape(-1, *[1] * (len(shape) - 1)), shape
    ).copy()


def _listed(given: Any) -> tuple[Any, ...]:
    """Several integers; nothing for what has none."""
    several = isinstance(given, list | tuple) or np.ndim(given) == 1
    return tuple(given) if several else ()
