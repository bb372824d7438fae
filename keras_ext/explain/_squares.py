"""The groups of images with so many pixels that squares of them have to play."""

from collections.abc import Sequence

import numpy as np

from keras_ext.explain._inputs import Inputs
from keras_ext.explain.groups import grid

# Squares along the longer side of an image.
_ALONG = 7


def squares_of(inputs: Inputs, most: int) -> tuple[dict[str, np.ndarray] | None, str]:
    """Groups for the images among inputs of more elements than can play.

    Args:
        inputs: The layout of the inputs.
        most: How many players there may be.

    Returns:
        The groups, and a sentence that says what they are; None and nothing if there
        are few enough elements, or no images.
    """
    images = {
        name: shape
        for name, shape in zip(inputs.names, inputs.shapes, strict=True)
        if _is_image(shape)
    }
    if inputs.num_elements <= most or not images:
        return None, ""
    labels = {
        name: _squares(shape) if name in images else _each(shape)
        for name, shape in zip(inputs.names, inputs.shapes, strict=True)
    }
    size = -(-max(next(iter(images.values()))[:2]) // _ALONG)
    said = (
        f"Squares of {size} x {size} pixels play, as `groups` of the image; `spread` "
        "brings values to the pixels."
    )
    return labels, said


def _is_image(shape: Sequence[int]) -> bool:
    return len(shape) == 3 and min(shape[:2]) > 1


def _squares(shape: Sequence[int]) -> np.ndarray:
    return grid(shape, -(-max(shape[:2]) // _ALONG))


def _each(shape: Sequence[int]) -> np.ndarray:
    return np.arange(int(np.prod(shape))).reshape(tuple(shape))
