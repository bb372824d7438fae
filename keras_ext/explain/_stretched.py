"""A background of one step, for sequences of any length."""

from collections.abc import Sequence

import numpy as np

from keras_ext._core._typing import Data
from keras_ext.explain._inputs import Inputs


def stretched(inputs: Inputs, background: Sequence[np.ndarray], x: Data) -> Data | None:
    """The background with as many steps as the rows have.

    Args:
        inputs: The inputs of the model, as of the background.
        background: Its parts, `(rows, elements)`.
        x: The rows, in whatever form.

    Returns:
        The background as the model takes it, its only step repeated; None if nothing is
        to be repeated: then the rows either fit, or are refused for what they are.
    """
    single = [
        shape[:1] == (1,) and steps is None
        for shape, steps in zip(inputs.shapes, inputs.declared_steps, strict=True)
    ]
    if not any(single):
        return None
    wanted = inputs.row_shapes(x)
    steps = [
        shape[0] if is_single and shape[1:] == own[1:] else 1
        for shape, own, is_single in zip(wanted, inputs.shapes, single, strict=True)
    ]
    if steps == [1] * len(steps):
        return None
    return inputs.arranged(
        [
            np.repeat(part.reshape(len(part), *shape), n, axis=1)
            for part, shape, n in zip(background, inputs.shapes, steps, strict=True)
        ]
    )
