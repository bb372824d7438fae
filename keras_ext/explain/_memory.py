"""How many rows a model can take at once within a budget of bytes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_ext.core._typing import Tensor

# All results of one pass together. On two cores small models were fastest with 16,000
# rows and more at a time, convolutions and attention with 4,000; this gives both.
BYTES = 64 * 2**20
_MOST = 65_536


def rows_at_once(
    function: Callable[[Sequence[Tensor]], Any],
    parts: Sequence[np.ndarray],
    passes: int = 1,
) -> int:
    """How many rows fit.

    Args:
        function: What is computed of parts, tensors `(rows, elements)`.
        parts: Some rows, for shapes and dtypes.
        passes: How often its results are kept, such as 2 if gradients are taken.

    Returns:
        The number, from 1 to 65,536.
    """
    needed = passes * bytes_per_row(function, parts)
    return int(np.clip(BYTES // needed, 1, _MOST))


def bytes_per_row(
    function: Callable[[Sequence[Tensor]], Any], parts: Sequence[np.ndarray]
) -> int:
    """The bytes of all that is computed for one row, as if nothing were freed."""
    specs = [
        tf.TensorSpec((None, *part.shape[1:]), tf.as_dtype(part.dtype))
        for part in parts
    ]
    graph = tf.function(function).get_concrete_function(specs).graph
    outputs = [t for op in graph.get_operations() for t in op.outputs]
    return max(1, sum(_bytes(tensor) for tensor in outputs))


def _bytes(tensor: Tensor) -> int:
    """The bytes per row, if the first axis is that of rows."""
    if not tensor.shape.rank or tensor.shape[0] is not None:
        return 0
    # Other open axes are taken for short: what is known is a lower bound there.
    known = [n or 1 for n in tensor.shape[1:]]
    return int(np.prod(known)) * max(1, tensor.dtype.size)
