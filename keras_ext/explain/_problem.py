"""What an explaining method is given, and what it gives back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import tensorflow as tf

from keras_ext._core._typing import Function, Tensor
from keras_ext.explain._inputs import Inputs
from keras_ext.explain._model_function import ModelFunction
from keras_ext.explain._players import Players

# What all evaluations of a row may compute by themselves, in bytes; and how many there
# are at least. An image of 224 x 224 takes some 10 times a first `predict`.
_AT_ONCE = 24 * 2**30
_LEAST = 64

# What one argument of a traced function is: a tensor, or several.
Specs: TypeAlias = tf.TensorSpec | Sequence[tf.TensorSpec]


@dataclass(frozen=True)
class Problem:
    """A model, what its inputs are compared with, and who plays.

    Attributes:
        function: The model as a function of parts.
        background: The parts of the background rows.
        players: The players.
        batch_size: How many rows the model gets at a time; a third where gradients
            are taken, which keep what was computed.
        jit: Whether graphs are compiled with XLA.
        seed: The seed of what is drawn.
        group: The group of each element, if there are groups.
        bytes_per_row: How much memory takes what is computed for one row.
    """

    function: ModelFunction
    background: Sequence[np.ndarray]
    players: Players
    batch_size: int
    jit: bool = False
    seed: int = 0
    group: np.ndarray | None = None
    bytes_per_row: int = 1

    def affordable(self, most: int) -> int:
        """How many evaluations a row gets by itself, fewer than that of large models.

        By what a row takes in memory, which grows as its time does and is the same
        everywhere.
        """
        return max(min(most, _LEAST), min(most, _AT_ONCE // max(1, self.bytes_per_row)))

    @property
    def inputs(self) -> Inputs:
        """The layout of the inputs."""
        return self.function.inputs

    @property
    def num_background(self) -> int:
        """How many rows the background has."""
        return len(self.background[0])

    def compiled(self, function: Function, *signature: Specs) -> Function:
        """Traces a function, once for all sizes of its arguments."""
        return traced(function, signature, self.jit)

    @property
    def rows(self) -> list[tf.TensorSpec]:
        """What any number of rows look like."""
        return rows_like(self.background)


@dataclass(frozen=True)
class Rows:
    """The rows to explain.

    Attributes:
        parts: Their parts.
        values: All outputs of the model for them, `(rows, outputs)`.
        which: Which of these are explained, `(rows, k)`.
        background: All outputs for the background rows, `(N, outputs)`.
    """

    parts: Sequence[np.ndarray]
    values: np.ndarray
    which: np.ndarray
    background: np.ndarray

    @property
    def explained(self) -> np.ndarray:
        """The explained outputs, `(rows, k)`."""
        return np.take_along_axis(self.values, self.which, axis=1)

    @property
    def explained_background(self) -> np.ndarray:
        """The same outputs for the background, `(rows, N, k)`."""
        return np.moveaxis(self.background[:, self.which], 0, 1)


@dataclass(frozen=True)
class Attribution:
    """What was found.

    Attributes:
        values: `(rows, players, k)`, in float64.
        error_std: The standard error of each value, of the same shape; None for
            methods that draw nothing.
        gap: What the values missed before they were made to add up, `(rows, k)`; None
            for methods whose values add up by themselves.
        is_left: Where this was too much to be divided among them, `(rows, k)`.
    """

    values: np.ndarray
    error_std: np.ndarray | None = None
    gap: np.ndarray | None = None
    is_left: np.ndarray | None = None


class Method(Protocol):
    """Explains rows. Made once with a `Problem`, so that its graphs are kept."""

    def __call__(
        self,
        rows: Rows,
        budget: int | None,
        tolerance: float | None,
        progress: Callable[[int, int], None],
    ) -> Attribution:
        """Explains.

        Args:
            rows: The rows.
            budget: How many evaluations of the model a row may take, about; None for
                the number that the method deems right.
            tolerance: Go on until no standard error is above it, if given.
            progress: Called with how much is done, and of how much.
        """


def traced(
    function: Function, signature: Sequence[Specs], jit: bool
) -> tf.types.experimental.ConcreteFunction:
    """Traces a function for arguments of these kinds."""
    # Keras's layers are written for tracing without autograph, as `fit` does it.
    compiled = tf.function(function, autograph=False, jit_compile=jit)
    return compiled.get_concrete_function(*signature)


def rows_like(parts: Sequence[np.ndarray]) -> list[tf.TensorSpec]:
    """What any number of such rows look like."""
    return [tf.TensorSpec((None, *p.shape[1:]), tf.as_dtype(p.dtype)) for p in parts]


def gathered(parts: Sequence[np.ndarray]) -> list[Tensor]:
    """Parts as tensors."""
    return [tf.convert_to_tensor(part) for part in parts]
