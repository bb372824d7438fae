"""A compiled model for arrays of any length."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from keras_ext._core._typing import Tensor
from keras_ext.explain._inputs import num_rows, take
from keras_ext.explain._model_function import ModelFunction
from keras_ext.explain._problem import gathered, rows_like, traced
from keras_ext.explain._trust import warn_if_unsteady

# All results of one pass together. On two cores small models were fastest with 16,000
# rows and more at a time, convolutions and attention with 4,000; this gives both.
BYTES = 64 * 2**20
_MOST = 65_536
# How many rows are computed twice, to see whether that makes a difference.
_TWICE = 2


class Evaluation:
    """Computes all outputs of the model for parts, a chunk at a time.

    Args:
        function: The model.
        example: Some rows.
        batch_size: How many rows to compute at a time. None takes as many as fit in
            64 MiB, counting all that is computed as if nothing were freed.
        jit: Whether to compile with XLA.
    """

    def __init__(
        self,
        function: ModelFunction,
        example: Sequence[np.ndarray],
        batch_size: int | None,
        jit: bool,
    ) -> None:
        self.function = function
        self._traced: tf.types.experimental.ConcreteFunction = traced(
            function, [rows_like(example)], jit
        )
        operations = self._traced.graph.get_operations()
        needed = sum(_bytes_per_row(x) for op in operations for x in op.outputs)
        self.bytes_per_row = needed
        self.batch_size = batch_size or int(np.clip(BYTES // max(1, needed), 1, _MOST))
        # XLA compiles anew for each number of rows.
        few = slice(0, self.batch_size if jit else _TWICE)
        warn_if_unsteady(self, take(example, few))

    def __call__(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """The outputs, `(rows, outputs)`."""
        chunks = [
            self._traced(gathered(take(parts, slice(i, i + self.batch_size)))).numpy()
            for i in range(0, num_rows(parts), self.batch_size)
        ]
        return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)


def _bytes_per_row(tensor: Tensor) -> int:
    """The bytes per row, if the first axis is that of rows."""
    if not tensor.shape.rank or tensor.shape[0] is not None:
        return 0
    # Other open axes are taken for short: what is known is a lower bound there.
    known = [n or 1 for n in tensor.shape[1:]]
    return int(np.prod(known)) * max(1, tensor.dtype.size)
