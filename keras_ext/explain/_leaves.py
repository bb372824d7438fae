"""The tensors that gradients are taken of: inputs, or embeddings of tokens."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_ext._anatomy._linked_method import Link, Method, linked_calls
from keras_ext._anatomy._sublayers import sublayers
from keras_ext._core._checks import require
from keras_ext._core._typing import Tensor
from keras_ext.explain._model_function import ModelFunction

_HINT = 'Use a method that takes no gradients, such as "permutation".'


@dataclass(frozen=True)
class _Call:
    """A call of an embedding layer: with which part, in which shape."""

    layer: Any
    part: int
    shape: tuple[int, ...]


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
        self._calls = _embedding_calls(function, [part[:1] for part in example])
        embedded = {call.part for call in self._calls}
        self._direct = [i for i in range(len(example)) if i not in embedded]
        for i in self._direct:
            name, dtype = function.inputs.names[i], example[i].dtype
            rule = f"of real numbers, or go to an Embedding (input {name!r})"
            require(dtype.kind == "f", "inputs", dtype.name, rule, _HINT)

    def __call__(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """The leaves of rows."""
        embedded = [
            call.layer.call(tf.reshape(parts[call.part], (-1, *call.shape)))
            for call in self._calls
        ]
        return [*(parts[i] for i in self._direct), *embedded]

    def outputs(self, leaves: Sequence[Tensor], parts: Sequence[Tensor]) -> Tensor:
        """The outputs of the model with these leaves in place of those of `parts`."""
        mixed = list(parts)
        for i, leaf in zip(self._direct, leaves, strict=False):
            mixed[i] = leaf
        with _giving(self._calls, leaves[len(self._direct) :]):
            return self.function(mixed)

    def elements(self, found: Sequence[Tensor]) -> Tensor:
        """Brings what was found for the leaves to the elements, `(rows, elements)`."""
        sizes = self.function.inputs.sizes
        rows = tf.shape(found[0])[0]
        total = [tf.zeros((rows, size)) for size in sizes]
        for i, leaf in zip(self._direct, found, strict=False):
            total[i] = tf.cast(leaf, tf.float32)
        for call, leaf in zip(self._calls, found[len(self._direct) :], strict=True):
            summed = tf.reduce_sum(tf.cast(leaf, tf.float32), axis=-1)
            total[call.part] += tf.reshape(summed, (-1, sizes[call.part]))
        return tf.concat(total, axis=1)

    def gradients(
        self, leaves: Sequence[Tensor], parts: Sequence[Tensor], which: Tensor
    ) -> tuple[Tensor, list[list[Tensor]]]:
        """The outputs `which` of each row, and the gradients of each at the leaves."""
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(leaves)
            columns = self.function.pick(self.outputs(leaves, parts), which)
            outputs = tf.unstack(columns, axis=1)
        found = [tape.gradient(output, list(leaves)) for output in outputs]
        self._check(found[0])
        # An output need not depend on every input.
        return columns, [
            [
                tf.zeros_like(x) if g is None else tf.convert_to_tensor(g)
                for g, x in zip(row, leaves, strict=True)
            ]
            for row in found
        ]

    def _check(self, gradients: Sequence[Any]) -> None:
        known = any(g is not None for g in gradients)
        rule = "such that the outputs have a gradient"
        require(known, "inputs", self.function.inputs.names, rule, _HINT)


def _embedding_calls(
    function: ModelFunction, example: Sequence[np.ndarray]
) -> list[_Call]:
    """The calls of embedding layers, in their order, and the parts they look up."""
    seen: list[tuple[Any, np.ndarray]] = []
    found = [
        x for x in sublayers(function.model) if isinstance(x, keras.layers.Embedding)
    ]
    with linked_calls(found, lambda layer: _noting(layer, seen)):
        if found:
            function([tf.convert_to_tensor(part) for part in example])
    calls = []
    for layer, tokens in seen:
        flat = tokens.reshape(len(tokens), -1)
        same = [
            i
            for i, part in enumerate(example)
            if part.shape == flat.shape
            and part.dtype.kind in "iuf"
            and np.array_equal(part.astype("int64"), flat)
        ]
        rule = f"such that the layer {layer.name!r} looks up one of them as it is"
        require(bool(same), "inputs", function.inputs.names, rule, _HINT)
        calls.append(_Call(layer, same[0], tokens.shape[1:]))
    return calls


def _noting(layer: Any, seen: list[tuple[Any, np.ndarray]]) -> Link:
    def link(call: Method) -> Method:
        def note(inputs: Tensor) -> Tensor:
            tokens = keras.ops.convert_to_numpy(keras.ops.cast(inputs, "int64"))
            seen.append((layer, tokens))
            return call(inputs)

        return note

    return link


def _giving(
    calls: Sequence[_Call], leaves: Sequence[Tensor]
) -> AbstractContextManager[None]:
    """Lets embedding layers give these leaves, one call after the other."""
    waiting = iter(leaves)
    layers = {id(call.layer): call.layer for call in calls}.values()
    return linked_calls(layers, lambda _: lambda _: lambda _: next(waiting))
