"""Recurrent networks."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras

from keras_ext._core._checks import integer
from keras_ext._core._typing import Record
from keras_ext.tuner.spaces._asked import (
    Activation,
    Asked,
    Flags,
    Integers,
    Numbers,
    Words,
    flags,
    integer_span,
    words,
)
from keras_ext.tuner.spaces._blocks import (
    Blocks,
    checked_activation,
    dropped_beside,
    normalized,
    num_normalization,
)
from keras_ext.tuner.spaces._network import LayeredNetwork, Network, added
from keras_ext.tuner.spaces._tokens import checked_sequence
from keras_ext.tuner.spaces._widths import Widths

_CELLS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}
_POOLED = {
    "mean": keras.layers.GlobalAveragePooling1D,
    "max": keras.layers.GlobalMaxPooling1D,
}


def recurrent(  # noqa: PLR0913 - what a network can be
    input_shape: Sequence[int],
    outputs: int,
    *,
    vocabulary: int | None = None,
    cell: Words = ("lstm", "gru"),
    bidirectional: Flags = (False, True),
    pooling: Words = "last",
    depth: Integers = (1, 2),
    widths: Words = "equal",
    width: Integers = (16, 256),
    ratio: Numbers = (1.5, 8.0),
    parameter_budget: Integers | None = None,
    initializer: Words = "glorot_uniform",
    normalization: Words = ("none", "layer"),
    residual: Flags = False,
    dropout: Words = ("none", "plain"),
    dropout_rate: Numbers = (0.05, 0.5),
    output_activation: Activation = None,
) -> Network:
    """The space of recurrent networks, for sequences of features or of tokens.

    A layer is a cell over all steps, in both directions if `bidirectional`, then
    normalization and dropout. Activations are those of the cells, which fast kernels
    need. `widths`, `width`, `ratio` and `parameter_budget` say how many units a layer
    has in each direction, as in `keras_ext.tuner.spaces.mlp`. Tokens are embedded as
    vectors of as many numbers as the first layer has units. All steps count: a sequence
    that is padded is read with its padding.

    Args:
        input_shape: `(steps, features)`, or `(steps,)` with a `vocabulary`.
        outputs: Integer >= 1, the number of outputs.
        vocabulary: Integer >= 1, how many tokens there are. None means that the input
            are features.
        cell: `"lstm"`, `"gru"` or both. Defaults to `("lstm", "gru")`.
        bidirectional: True, False or both. Defaults to `(False, True)`.
        pooling: One or several of `"last"`, the output of the last step, `"mean"` and
            `"max"` over all steps. Defaults to `"last"`.
        depth: Integer >= 1 or a pair, the number of layers. Defaults to `(1, 2)`.
        widths: One or several of `"equal"`, `"decreasing"`, `"increasing"`,
            `"bottleneck"`, `"diamond"` and `"free"`. Defaults to `"equal"`.
        width: Integer >= 1 or a pair, the units of the widest layer; it is not used
            with a budget. Defaults to `(16, 256)`.
        ratio: Number > 1 or a pair, how many times as wide the widest layer is as the
            narrowest. Defaults to `(1.5, 8.0)`.
        parameter_budget: Integer >= 1 or a pair, the largest number of trainable
            parameters. None means that `width` says how wide.
        initializer: One or several initializers of the kernels by their names in Keras.
            Defaults to `"glorot_uniform"`.
        normalization: One or several of `"none"`, `"batch"`, `"layer"` and `"rms"`.
            Defaults to `("none", "layer")`.
        residual: True, False or both: whether the input of a layer is added to its
            output, from the second on; with `"last"`, up to the last but one. Defaults
            to `False`.
        dropout: One or several, as in `mlp`. Defaults to `("none", "plain")`.
        dropout_rate: Number in (0, 0.9] or a pair. Defaults to `(0.05, 0.5)`.
        output_activation: The activation of the outputs. None means none: logits.

    Returns:
        A function of `hp` that returns a model, as that of `mlp`. The names of its
        hyperparameters begin with `recurrent/`.

    Raises:
        ValueError: If an argument is out of range, or when a model is built, if the
            narrowest one is larger than the budget.

    Examples:
        >>> import keras_tuner
        >>> import keras_ext as kx
        >>> space = kx.tuner.spaces.recurrent(
        ...     (20, 3), 2, cell="gru", bidirectional=False, parameter_budget=5_000
        ... )
        >>> space.widths(keras_tuner.HyperParameters())
        [38]
    """
    shape, vocabulary = checked_sequence(input_shape, vocabulary)
    return Recurrent(
        shape,
        integer(outputs, "outputs", low=1),
        vocabulary,
        words(cell, "cell", tuple(_CELLS)),
        flags(bidirectional, "bidirectional"),
        words(pooling, "pooling", ("last", *_POOLED)),
        integer_span(depth, "depth"),
        Widths.checked(widths, width, ratio, parameter_budget),
        Blocks.checked("tanh", initializer, normalization, dropout, dropout_rate),
        flags(residual, "residual"),
        checked_activation(output_activation),
    )


@dataclass(frozen=True)
class Recurrent(LayeredNetwork):
    """See `recurrent`."""

    input_shape: tuple[int, ...]
    outputs: int
    vocabulary: int | None
    cell: tuple[str, ...]
    bidirectional: tuple[bool, ...]
    pooling: tuple[str, ...]
    depth: tuple[int, int]
    shapes: Widths
    blocks: Blocks
    residual: tuple[bool, ...]
    output_activation: Activation
    name = "recurrent"

    def _ask(self, asked: Asked) -> Record:
        values = {
            "depth": asked.integer("depth", self.depth),
            "cell": asked.choice("cell", self.cell),
            "bidirectional": asked.choice("bidirectional", self.bidirectional),
            "pooling": asked.choice("pooling", self.pooling),
            **self.blocks.ask(asked),
        }
        values["residual"] = self._ask_residual(asked)
        return {**values, **self.shapes.ask(asked, "depth", self.depth[1])}

    def _ask_residual(self, asked: Asked) -> bool | None:
        """No way leads past the first layer, nor past one that keeps no steps."""
        low, high = self.depth
        with asked.when("depth", range(max(3, low), high + 1)):
            of_several = asked.choice("residual", self.residual)
        pooled = [kind for kind in self.pooling if kind != "last"]
        two = range(max(2, low), min(2, high) + 1)
        with asked.when("depth", two), asked.when("pooling", pooled):
            of_two = asked.choice("residual", self.residual)
        return of_two if of_several is None else of_several

    def _skips(self, values: Record) -> list[str]:
        how = super()._skips(values)
        # There are no steps to add to.
        return [*how[:-1], "none"] if values["pooling"] == "last" else how

    def _count(self, values: Record, widths: list[int]) -> int:
        before, total = self.input_shape[-1], 0
        if self.vocabulary:
            before, total = widths[0], self.vocabulary * widths[0]
        sides = 2 if values["bidirectional"] else 1
        for width, skip in zip(widths, self._skips(values), strict=True):
            # With `reset_after`, Keras's default, a GRU has biases for inputs and for
            # states.
            gates, biases = (4, 1) if values["cell"] == "lstm" else (3, 2)
            total += sides * gates * width * (before + width + biases)
            total += num_normalization(values["normalization"], sides * width)
            total += before * sides * width * (skip == "projection")
            before = sides * width
        return total + (before + 1) * self.outputs

    def _model(self, values: Record, widths: list[int]) -> keras.Model:
        kind = "int32" if self.vocabulary else None
        x = inputs = keras.Input(self.input_shape, dtype=kind)
        if self.vocabulary:
            x = keras.layers.Embedding(self.vocabulary, widths[0])(x)
        layers = zip(widths, self._skips(values), strict=True)
        for i, (width, skip) in enumerate(layers):
            goes_on = i < len(widths) - 1 or values["pooling"] != "last"
            cell = _CELLS[values["cell"]](
                width,
                return_sequences=goes_on,
                kernel_initializer=values["initializer"],
            )
            wide = 2 * width if values["bidirectional"] else width
            if values["bidirectional"]:
                cell = keras.layers.Bidirectional(cell)
            y = normalized(cell(x), values["normalization"])
            y = dropped_beside(y, values, skip)
            x = added(x, y, skip, keras.layers.Dense(wide, use_bias=False))
        if values["pooling"] != "last":
            x = _POOLED[values["pooling"]]()(x)
        outputs = keras.layers.Dense(self.outputs, self.output_activation)(x)
        return keras.Model(inputs, outputs, name=self.name)
