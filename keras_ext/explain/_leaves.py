"""The tensors that gradients are taken of: inputs, or embeddings of tokens."""

import warnings
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from keras_ext._core._checks import require
from keras_ext._core._typing import Tensor
from keras_ext.explain._calls._record import operations
from keras_ext.explain._lookups import HINT, Lookups
from keras_ext.explain._model_function import ModelFunction
from keras_ext.explain._reach import reached
from keras_ext.explain._widening import is_whole, widened


class Leaves:
    """Takes the model apart into a way to the leaves, and one from them to the outputs.

    The leaf of a part of real numbers is the part. A part of tokens has no gradient;
    its leaves are what the embedding layers of the model make of it, and what is found
    for the entries of an embedding is summed up.

    Args:
        function: The model.
        example: Parts of one row or more.

    Raises:
        ValueError: If there is a part that no gradient can be taken for.
    """

    def __init__(self, function: ModelFunction, example: Sequence[np.ndarray]) -> None:
        self.function = function
        self._lookups = Lookups(function, example)
        self._operations = operations(function.model)
        self._embedded = [call for call in self._lookups.calls if call is not None]
        ends = np.cumsum([0, *function.inputs.sizes])
        looked_up = np.diff(np.searchsorted(self._lookups.elements, ends))
        # Tokens among real numbers: the part is a leaf, too.
        self._direct = [
            i
            for i, size in enumerate(function.inputs.sizes)
            if looked_up[i] == 0
            or (looked_up[i] < size and example[i].dtype.kind == "f")
        ]
        for i in self._direct:
            self._require_number(i, example[i].dtype.kind in "biuf")

    def __call__(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """The leaves of rows."""
        direct = [
            tf.cast(parts[i], tf.float32) if is_whole(parts[i].dtype) else parts[i]
            for i in self._direct
        ]
        return [*direct, *self._lookups(parts)]

    def outputs(self, leaves: Sequence[Tensor], parts: Sequence[Tensor]) -> Tensor:
        """The outputs of the model with these leaves in place of those of `parts`."""
        inputs, mixed = self.function.inputs, list(parts)
        # The direct leaves are the first; behind them come those of lookups.
        for i, leaf in zip(self._direct, leaves, strict=False):
            if not is_whole(parts[i].dtype):
                mixed[i] = leaf
        given = inputs.shaped(mixed)
        reals = {
            id(given[i]): tf.reshape(leaf, tf.shape(given[i]))
            for i, leaf in zip(self._direct, leaves, strict=False)
            if is_whole(parts[i].dtype)
        }
        with (
            self._lookups.giving(leaves[len(self._direct) :]),
            widened(self._operations if reals else [], reals),
        ):
            raw = self.function.model(inputs.arranged(given), training=False)
        return self.function.outputs_of(raw)

    def elements(self, found: Sequence[Tensor]) -> Tensor:
        """Brings what was found for the leaves to the elements, `(rows, elements)`."""
        sizes = self.function.inputs.sizes
        rows = tf.shape(found[0])[0]
        parts = [tf.zeros((rows, size)) for size in sizes]
        for i, leaf in zip(self._direct, found, strict=False):
            parts[i] = tf.cast(leaf, tf.float32)
        total = tf.concat(parts, axis=1)
        for call, leaf in zip(self._embedded, found[len(self._direct) :], strict=True):
            # A token has what all the numbers of its embedding have.
            summed = tf.reduce_sum(tf.cast(leaf, tf.float32), axis=-1)
            total += self._lookups.brought(call, summed)
        return total

    def gradients(
        self, leaves: Sequence[Tensor], parts: Sequence[Tensor], which: Tensor
    ) -> tuple[Tensor, list[list[Tensor]]]:
        """The outputs `which` of each row, and the gradients of each at the leaves."""
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(leaves)
            columns = self.function.pick(self.outputs(leaves, parts), which)
            outputs = tf.unstack(columns, axis=1)
        found = [tape.gradient(output, list(leaves)) for output in outputs]
        self._check(found, leaves, parts, columns)
        # An output need not depend on every input.
        return columns, [
            [
                tf.zeros_like(x) if g is None else tf.convert_to_tensor(g)
                for g, x in zip(row, leaves, strict=True)
            ]
            for row in found
        ]

    def _require_number(self, part: int, condition: bool) -> None:
        name, dtype = self.function.inputs.names[part], self.function.inputs.dtypes
        rule = f"of real numbers, or go to an Embedding (input {name!r})"
        require(condition, "inputs", dtype[part], rule, HINT)

    def _check(
        self,
        found: Sequence[Sequence[Tensor | None]],
        leaves: Sequence[Tensor],
        parts: Sequence[Tensor],
        columns: Tensor,
    ) -> None:
        """Raises if there is no gradient at all, and tells of inputs without one."""
        missing = [all(g is None for g in of) for of in zip(*found, strict=True)]
        for i, leaf, gone in zip(self._direct, leaves, missing, strict=False):
            if gone and is_whole(parts[i].dtype):
                used = reached(columns, {id(parts[i]), id(leaf)})
                self._require_number(i, not used)
        rule = "such that the outputs have a gradient"
        names = self.function.inputs.names
        require(not all(missing), "inputs", names, rule, HINT)
        direct = zip(self._direct, leaves, missing, strict=False)
        blind = {id(leaf): names[i] for i, leaf, gone in direct if gone}
        hidden = [blind[i] for i in blind if i in reached(columns, blind)]
        if hidden:
            warnings.warn(
                f"No gradient leads to the inputs {hidden}, which the outputs depend "
                f"on: rounding or a lookup is in between. They have 0 here. {HINT}",
                stacklevel=2,
            )
