"""The tensors that gradients are taken of: inputs, or embeddings of tokens."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_ext._core._checks import require
from keras_ext._core._typing import Tensor
from keras_ext.explain._lookups import HINT, Lookups
from keras_ext.explain._model_function import ModelFunction
from keras_ext.explain._reach import reached


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
            name, dtype = function.inputs.names[i], example[i].dtype
            rule = f"of real numbers, or go to an Embedding (input {name!r})"
            require(dtype.kind == "f", "inputs", dtype.name, rule, HINT)

    def __call__(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """The leaves of rows."""
        return [*(parts[i] for i in self._direct), *self._lookups(parts)]

    def outputs(self, leaves: Sequence[Tensor], parts: Sequence[Tensor]) -> Tensor:
        """The outputs of the model with these leaves in place of those of `parts`."""
        mixed = list(parts)
        for i, leaf in zip(self._direct, leaves, strict=False):
            mixed[i] = leaf
        with self._lookups.giving(leaves[len(self._direct) :]):
            return self.function(mixed)

    def elements(self, found: Sequence[Tensor]) -> Tensor:
        """Brings what was found for the leaves to the elements, `(rows, elements)`."""
        sizes = self.function.inputs.sizes
        rows = tf.shape(found[0])[0]
        parts = [tf.zeros((rows, size)) for size in sizes]
        for i, leaf in zip(self._direct, found, strict=False):
            parts[i] = tf.cast(leaf, tf.float32)
        total = tf.concat(parts, axis=1)
        for call, leaf in zip(self._embedded, found[len(self._direct) :], strict=True):
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
        self._check(found, leaves, columns)
        # An output need not depend on every input.
        return columns, [
            [
                tf.zeros_like(x) if g is None else tf.convert_to_tensor(g)
                for g, x in zip(row, leaves, strict=True)
            ]
            for row in found
        ]

    def _check(
        self, found: Sequence[Any], leaves: Sequence[Tensor], columns: Tensor
    ) -> None:
        """Raises if there is no gradient at all, and tells of inputs without one."""
        missing = [all(g is None for g in of) for of in zip(*found, strict=True)]
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
