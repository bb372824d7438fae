"""Which elements of the inputs the embedding layers of a model look up."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from keras_ext._anatomy._linked_method import Link, linked_calls
from keras_ext._anatomy._sublayers import sublayers
from keras_ext._core._checks import require
from keras_ext._core._typing import Data, Function, Layer, Tensor
from keras_ext.explain._model_function import ModelFunction
from keras_ext.explain._problem import rows_like, traced

HINT = 'Use a method that takes no gradients, such as "permutation".'
# Probes of the inputs are no larger, so that int8 holds them.
_BASE = 97


@dataclass(frozen=True)
class Lookup:
    """A call of an embedding layer.

    Attributes:
        layer: The layer.
        elements: Which element of the inputs each token of a row is, of all elements of
            all inputs; -1 for one that is the same in all rows.
    """

    layer: keras.layers.Embedding
    elements: np.ndarray


class Lookups:
    """All calls of embedding layers, found by probes of the inputs.

    Tokens may be elements as they are, some of them, in another order or shape, or with
    something added, such as an offset for each field. Tokens that are the same for all
    rows, such as positions, are no part of any input.

    Args:
        function: The model.
        example: Parts of one row or more.

    Attributes:
        calls: The calls, in their order; None for one of which no token is an element.

    Raises:
        ValueError: If tokens are made of inputs in another way.
    """

    def __init__(self, function: ModelFunction, example: Sequence[np.ndarray]) -> None:
        self._function = function
        self._layers = embeddings_in(function.model)
        self.calls: list[Lookup | None] = []
        if self._layers:
            self._seen: list[tuple[Layer, Tensor]] = []
            self._tokens = traced(self._trace, [rows_like(example)], False)
            self.calls = self._probed([part[:1] for part in example])

    @property
    def elements(self) -> np.ndarray:
        """All elements that are looked up, in order."""
        found = [call.elements for call in self.calls if call is not None]
        every = np.unique(np.concatenate(found)) if found else np.zeros(0, "int32")
        return every[every >= 0]

    def __call__(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """What the layers give for the tokens of rows."""
        if not self.elements.size:
            return []
        found = zip(self.calls, self._tokens(list(parts)), strict=True)
        return [call.layer.call(tokens) for call, tokens in found if call is not None]

    def giving(self, leaves: Sequence[Tensor]) -> AbstractContextManager[None]:
        """Lets the layers give these leaves, one call after the other."""
        waiting = iter(leaves)
        return replaying(
            self._layers, [None if c is None else next(waiting) for c in self.calls]
        )

    def brought(self, call: Lookup, found: Tensor) -> Tensor:
        """Brings what was found for tokens to the elements, `(rows, elements)`."""
        size = self._function.inputs.num_elements
        flat = tf.transpose(tf.reshape(found, (-1, len(call.elements))))
        # Negative numbers are left out.
        sums = tf.math.unsorted_segment_sum(flat, call.elements, size)
        return tf.transpose(sums)

    def _trace(self, parts: list[Tensor]) -> list[Tensor]:
        self._seen = []
        with linked_calls(self._layers, self._noting):
            self._function(parts)
        graph = tf.compat.v1.get_default_graph()
        for layer, tokens in self._seen:
            inside = getattr(tokens, "graph", graph) is graph
            rule = "such that no layer looks up tokens in a loop"
            require(inside, "model", layer.name, rule, HINT)
        return [tf.convert_to_tensor(tokens) for _, tokens in self._seen]

    def _noting(self, layer: Layer) -> Link:
        def note(inputs: Data) -> Tensor:
            tokens = tf.convert_to_tensor(inputs)
            self._seen.append((layer, tokens))
            # Probes are not to be looked up: they may be beyond what the layer has.
            zeros = tf.zeros_like(tokens, dtype=layer.compute_dtype)
            return tf.repeat(zeros[..., None], layer.output_dim, axis=-1)

        return lambda _: note

    def _probed(self, example: Sequence[np.ndarray]) -> list[Lookup | None]:
        count = self._function.inputs.num_elements
        digits = max(1, int(np.ceil(np.log(max(2, count)) / np.log(_BASE))))
        numbers = np.arange(count)
        # What a 1 becomes is subtracted, so that tokens may have an offset; what a 2
        # adds says whether they are elements as they are; the rest spells their
        # numbers.
        probes = [np.ones(count, int), np.full(count, 2)]
        probes += [1 + numbers // _BASE**place % _BASE for place in range(digits)]
        tokens = [self._tokens(self._filled(example, probe)) for probe in probes]
        layers = [layer for layer, _ in self._seen]
        return [
            self._lookup(layer, [np.asarray(t, "int64") for t in of_call])
            for layer, of_call in zip(layers, zip(*tokens, strict=True), strict=True)
        ]

    def _filled(
        self, example: Sequence[np.ndarray], values: np.ndarray
    ) -> list[Tensor]:
        """Two rows with these values for all elements that are numbers."""
        parts = self._function.inputs.split(values, axis=0)
        return [
            # Two, to tell tokens of rows from those that are the same for all rows.
            tf.constant(np.stack([own, own]).astype(part.dtype))
            if part.dtype.kind in "iuf"
            else tf.constant(np.repeat(part, 2, axis=0))
            for own, part in zip(parts, example, strict=True)
        ]

    def _lookup(self, layer: Layer, tokens: Sequence[np.ndarray]) -> Lookup | None:
        """What the tokens of all probes tell of a call."""
        ones, twos, *digits = tokens
        moved = twos - ones
        if not moved.any():
            return None
        of_rows = ones.ndim > 0 and len(ones) == 2
        # -1 for tokens that are no elements, such as one for a class in front.
        found = np.where(moved == 1, 0, -1)
        for place, digit in enumerate(digits):
            own = np.where(moved == 1, digit - ones, 0)
            of_rows = of_rows and bool(((own >= 0) & (own < _BASE)).all())
            found = found + own * _BASE**place
        known = (
            of_rows
            and np.isin(moved, (0, 1)).all()
            and found.max() < self._function.inputs.num_elements
        )
        rule = f"such that the layer {layer.name!r} looks up elements as they are"
        require(bool(known), "inputs", self._function.inputs.names, rule, HINT)
        return Lookup(layer, found[0].reshape(-1).astype("int32"))


def embeddings_in(layer: Layer) -> list[keras.layers.Embedding]:
    """The embedding layers in a layer or model, each once."""
    if not isinstance(layer, keras.Layer):
        return []
    return [x for x in sublayers(layer) if isinstance(x, keras.layers.Embedding)]


def replaying(
    layers: Sequence[keras.layers.Embedding], given: Sequence[Tensor | None]
) -> AbstractContextManager[None]:
    """Lets embedding layers give something else, call by call; None computes it."""
    waiting: Iterator[Tensor | None] = iter(given)

    def link(call: Function) -> Function:
        def replay(inputs: Data) -> Tensor:
            leaf = next(waiting)
            return call(inputs) if leaf is None else leaf

        return replay

    return linked_calls(layers, lambda _: link)
