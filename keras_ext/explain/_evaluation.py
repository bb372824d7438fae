"""A compiled model for arrays of any length."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from keras_ext.explain._inputs import num_rows, take
from keras_ext.explain._model_function import ModelFunction
from keras_ext.explain._problem import gathered


class Evaluation:
    """Computes all outputs of the model for parts, a chunk at a time."""

    def __init__(self, function: ModelFunction, batch_size: int, jit: bool) -> None:
        self.function = function
        self.batch_size = batch_size
        self._compiled: Callable[..., tf.Tensor] = tf.function(
            function, reduce_retracing=True, jit_compile=jit
        )

    def __call__(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """The outputs, `(rows, outputs)`."""
        rows = num_rows(parts)
        chunks = [
            self._compiled(gathered(take(parts, slice(i, i + self.batch_size)))).numpy()
            for i in range(0, rows, self.batch_size)
        ]
        return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)
