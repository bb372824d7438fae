"""What a map answers: which outputs of a model, for which rows."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_ext._core._checks import flag, require
from keras_ext._core._progress import Progress
from keras_ext._core._typing import Data, OutputChoice, Tensor
from keras_ext.explain._arguments import number_or_auto
from keras_ext.explain._evaluation import Evaluation
from keras_ext.explain._inputs import Inputs, take
from keras_ext.explain._model_function import ModelFunction
from keras_ext.explain._paths import divisor
from keras_ext.explain._players import Groups, Players
from keras_ext.explain._problem import Problem, Specs, gathered, rows_like, traced
from keras_ext.explain._trust import require_finite

Map = np.ndarray | dict[str, np.ndarray]
# What is computed of parts and of the outputs that are chosen of each row.
Computation = Callable[..., Tensor]


class Question:
    """The model and rows that a map is made for.

    Args:
        model: The model.
        x: The rows, as the model takes them.
        outputs: Which outputs, as for `ModelFunction`.
        batch_size: How many rows the model gets at a time, or `"auto"`.
        jit: Whether graphs are compiled with XLA.

    Attributes:
        inputs: The layout of the inputs.
        parts: The parts of the rows.
        function: The model as a function of parts.
        evaluate: All outputs, `(rows, outputs)`, of parts.
        batch_size: How many rows the model gets at a time.
        which: The outputs of each row that are asked for, `(rows, k)`.

    Raises:
        ValueError: If an argument is not of this form.
    """

    def __init__(
        self,
        model: keras.Model,
        x: Data,
        outputs: OutputChoice,
        batch_size: int | str,
        jit: bool,
    ) -> None:
        require(isinstance(model, keras.Model), "model", model, "a keras.Model")
        size = number_or_auto(batch_size, "batch_size")
        self.jit = flag(jit, "jit")
        self.inputs = Inputs(model, x, "x")
        self.parts = self.inputs.parts(x)
        self.function = ModelFunction(model, self.inputs, self.parts, outputs)
        self.evaluate = Evaluation(self.function, self.parts, size, self.jit)
        self.batch_size = self.evaluate.batch_size
        outputs_of_rows = self.evaluate(self.parts)
        require_finite(outputs_of_rows, "x")
        self.which = self.function.which(outputs_of_rows)

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return len(self.which)

    def progress(self) -> Progress:
        """A bar for what takes longer than two seconds."""
        return Progress()

    def compiled(self, compute: Computation, *signature: Specs) -> Computation:
        """Traces `compute(parts, which, ...)`, of a few outputs at a time."""
        at_once = divisor(self.which.shape[1])
        which = tf.TensorSpec((None, at_once), tf.int32)
        return traced(compute, [rows_like(self.parts), which, *signature], self.jit)

    def mapped(
        self,
        compute: Computation,
        *arguments: Tensor | Sequence[Tensor],
        copies: float = 3,
    ) -> np.ndarray:
        """Goes through all rows and outputs with what `compiled` has returned.

        Args:
            compute: Computes `(rows, ..., outputs)`.
            *arguments: What it gets besides.
            copies: How much of the memory of a plain row it takes for one; three
                where gradients are taken, which keep what was computed.

        Returns:
            `(rows, ..., k)`.
        """
        rows_at_once = max(1, int(self.batch_size // copies))
        at_once = divisor(self.which.shape[1])
        found = []
        for begin in range(0, self.num_rows, rows_at_once):
            rows = slice(begin, begin + rows_at_once)
            parts = gathered(take(self.parts, rows))
            columns = [
                compute(
                    parts, tf.constant(self.which[rows, j : j + at_once]), *arguments
                ).numpy()
                for j in range(0, self.which.shape[1], at_once)
            ]
            found.append(np.concatenate(columns, axis=-1))
        return np.concatenate(found)

    def shaped(self, values: np.ndarray) -> Map:
        """Brings `(rows, elements, k)` to the shape of the inputs.

        One array, or for several inputs a dictionary by name; without the axis of
        outputs if there is one.
        """
        extra = () if values.shape[-1] == 1 else values.shape[-1:]
        shapes, split = self.inputs.shapes, self.inputs.split(values)
        found = [
            part.reshape(len(part), *shape, *extra)
            for shape, part in zip(shapes, split, strict=True)
        ]
        if self.inputs.is_single:
            return found[0]
        return dict(zip(self.inputs.names, found, strict=True))

    def problem(
        self, background: Data, groups: Groups = None, seed: int = 0
    ) -> Problem:
        """The game in which what is not there is as in the background.

        Args:
            background: Rows as the model takes them; None for one of zeros.
            groups: As for `Players`.
            seed: The seed of what is drawn.
        """
        if background is None:
            dtypes = {str(part.dtype) for part in self.parts if part.dtype == object}
            rule = "given where inputs are words"
            require(not dtypes, "background", background, rule)
            behind = [np.zeros_like(part[:1]) for part in self.parts]
        else:
            behind = self.inputs.parts(background, "background")
        players = Players(self.inputs, groups, self.inputs.element_names())
        return Problem(
            self.function, behind, players, self.batch_size, self.jit, int(seed)
        )


def places(shape: Sequence[int]) -> tuple[int, ...]:
    """The axes of places of one row: all but the last, that of channels, if several."""
    return tuple(shape[:-1]) if len(shape) > 1 else tuple(shape)
