"""A model as a function from flat parts to a matrix of numbers to be explained."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_ext._anatomy._outputs import Outputs, highest, number_of_top
from keras_ext._core._checks import choice, require
from keras_ext._core._typing import Data, Function, OutputChoice, Tensor
from keras_ext.explain._inputs import Inputs

LINKS = ("identity", "logit")
# How near to 0 and 1 a probability counts as itself: float32 has no more.
_EPSILON = 1e-7


class ModelFunction:
    """Computes the explained outputs of a model, in inference mode and float32.

    It is to be called while a graph is traced, on tensors; `matrix` is the compiled
    form for NumPy arrays.

    Args:
        model: The model.
        inputs: The layout of its inputs.
        example: Parts of one row or more, to see what the model puts out.
        outputs: Which outputs: None for all; an integer or a name; a list of these;
            `"top"` for the highest of each row, or `("top", k)` for the `k` highest;
            or a function from what the model puts out to a tensor of shape `(rows,)`
            or `(rows, outputs)`.
        output_names: The names of all outputs of the model, or of those that the
            function returns. None means that they are taken from the model.
        link: `"identity"`, or `"logit"` for the log-odds of outputs that are
            probabilities.

    Attributes:
        names: The names of the outputs from which `outputs` chooses; with `"top"`, all.
        num_outputs: How many are explained for a row.
        top: The `k` of `"top"`, else None.

    Raises:
        ValueError: If an argument is not of these forms, or there is no such output.
    """

    def __init__(
        self,
        model: keras.Model,
        inputs: Inputs,
        example: Sequence[np.ndarray],
        outputs: OutputChoice = None,
        output_names: Sequence[str] | None = None,
        link: str = "identity",
    ) -> None:
        choice(link, "link", LINKS)
        self.model = model
        self.inputs = inputs
        self.link = link
        self._function: Function | None = None
        if callable(outputs) and not isinstance(outputs, type):
            self._function = outputs
        self.top = number_of_top(outputs)
        self._chosen: list[int] | None = None
        rows = [tf.convert_to_tensor(part[:1]) for part in example]
        raw = self.raw(rows)
        raw = raw if self._function is None else self._function(raw)
        every = Outputs(model, raw, output_names)
        self.names = every.names
        if self._function is None and self.top is None:
            self._chosen = every.chosen(outputs)
        if self._chosen is not None:
            self.names = [every.names[i] for i in self._chosen]
        require(
            self.top is None or self.top <= len(self.names),
            "outputs",
            outputs,
            f"at most {len(self.names)} outputs, which are all that the model has",
        )
        self.num_outputs = self.top or len(self.names)

    def raw(self, parts: Sequence[Tensor]) -> Data:
        """What the model puts out."""
        return self.model(self.inputs.assemble(parts), training=False)

    def __call__(self, parts: Sequence[Tensor]) -> Tensor:
        """All outputs, or with `"top"` those to choose from: `(rows, outputs)`."""
        return self.outputs_of(self.raw(parts))

    def outputs_of(self, raw: Data) -> Tensor:
        """The explained outputs of what the model has put out."""
        return self.linked(self.selected(raw))

    @property
    def selects_linearly(self) -> bool:
        """Whether the selected outputs are linear in those of the model."""
        return self._function is None

    def selected(self, raw: Data) -> Tensor:
        """Those that are explained, `(rows, outputs)`."""
        if self._function is not None:
            raw = self._function(raw)
        columns = _columns(raw)
        # Not all of them, or all in another order.
        if self._chosen not in (None, list(range(columns.shape[1]))):
            columns = tf.gather(columns, self._chosen, axis=1)
        return columns

    def linked(self, columns: Tensor) -> Tensor:
        """Their log-odds, if these are explained."""
        if self.link == "logit":
            columns = tf.clip_by_value(columns, _EPSILON, 1.0 - _EPSILON)
            # `log1p`: in `1 - p` the digits of a small p are lost.
            columns = tf.math.log(columns) - tf.math.log1p(-columns)
        return columns

    def pick(self, columns: Tensor, which: Tensor) -> Tensor:
        """Takes of each row, `(..., outputs)`, the columns `which`, `(rows, k)`."""
        every = which.shape[-1] == columns.shape[-1]
        if self.top is None and every:  # in their order
            return columns
        return tf.gather(columns, which, axis=-1, batch_dims=1)

    def which(self, columns: np.ndarray) -> np.ndarray:
        """The columns to explain of each row: `(rows, num_outputs)`, highest first."""
        if self.top is None:
            return np.tile(
                np.arange(self.num_outputs, dtype="int32"), (len(columns), 1)
            )
        return highest(columns, self.top)


def _columns(raw: Data) -> Tensor:
    """All outputs side by side, `(rows, outputs)`, in float32."""
    flat = []
    for tensor in keras.tree.flatten(raw):
        values = tf.cast(tf.convert_to_tensor(tensor), tf.float32)
        size = int(np.prod(values.shape[1:]))
        flat.append(tf.reshape(values, (-1, size)))
    return flat[0] if len(flat) == 1 else tf.concat(flat, axis=1)
