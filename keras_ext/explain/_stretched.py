"""A background of one step, for sequences of any length."""

from collections.abc import Sequence

import numpy as np

from keras_ext._core._typing import Data
from keras_ext.explain._inputs import Inputs


def steps_of(inputs: Inputs, x: Data) -> tuple[int, ...] | None:
    """How often the only step of the background is to be repeated for some rows.

    Args:
        inputs: The inputs of the model, as of the background.
        x: The rows, in whatever form.

    Returns:
        A number for each part; None if nothing is to be repeated: then the rows either
        fit, or are refused for what they are.
    """
    single = [
        shape[:1] == (1,) and steps is None
        for shape, steps in zip(inputs.shapes, inputs.declared_steps, strict=True)
    ]
    if not any(single):
        return None
    steps = tuple(
        shape[0] if is_single and shape[1:] == own[1:] else 1
        for shape, own, is_single in zip(
            inputs.row_shapes(x), inputs.shapes, single, strict=True
        )
    )
    return None if set(steps) == {1} else steps


def stretched(
    inputs: Inputs, background: Sequence[np.ndarray], steps: Sequence[int]
) -> Data:
    """The background as the model takes it, each step repeated so often.

    Args:
        inputs: The inputs of the model, as of the background.
        background: Its parts, `(rows, elements)`.
        steps: What `steps_of` returned.
    """
    shaped = (
        part.reshape(len(part), *shape)
        for part, shape in zip(background, inputs.shapes, strict=True)
    )
    # A row that is a single number has no axis of steps.
    return inputs.arranged(
        [
            np.repeat(rows, n, axis=1) if n > 1 else rows
            for rows, n in zip(shaped, steps, strict=True)
        ]
    )
