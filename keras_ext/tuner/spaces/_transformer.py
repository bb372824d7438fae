"""Transformers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import keras

from keras_ext._core._checks import integer, integers, require
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
)
from keras_ext.tuner.spaces._blocks import (
    Blocks,
    checked_activation,
    dropped,
    initializer,
    normalized,
    num_normalization,
)
from keras_ext.tuner.spaces._network import Network, checked_shape
from keras_ext.tuner.spaces._tokens import checked_sequence, patches, positions
from keras_ext.tuner.spaces._widths import Widths, resolved


def transformer(  # noqa: PLR0913 - what a network can be
    input_shape: Sequence[int],
    outputs: int,
    *,
    vocabulary: int | None = None,
    patch_size: int | None = None,
    depth: Integers = (1, 4),
    heads: int | Sequence[int] = (2, 4, 8),
    width: Integers = (16, 256),
    feedforward: Integers = (1, 4),
    parameter_budget: Integers | None = None,
    norm_first: Flags = True,
    activation: Words = ("relu", "gelu"),
    initializer: Words = "glorot_uniform",
    normalization: Words = ("layer", "rms"),
    dropout: Words = ("none", "plain"),
    dropout_rate: Numbers = (0.05, 0.5),
    output_activation: Activation = None,
) -> Network:
    """The space of transformers, for sequences of features or tokens, and for images.

    What comes in is mapped to vectors, to which sines and cosines of the position are
    added. A block is attention among all steps, then two layers on each step, both with
    a way past them. The mean over all steps goes to a layer of outputs. The width of
    the vectors is the same in all blocks, and a multiple of `heads`. All steps count: a
    sequence that is padded is read with its padding.

    Args:
        input_shape: `(steps, features)`; `(steps,)` with a `vocabulary`; or `(height,
            width, channels)` with a `patch_size`.
        outputs: Integer >= 1, the number of outputs.
        vocabulary: Integer >= 1, how many tokens there are. None means that the input
            are features.
        patch_size: Integer >= 1, the side of the squares that an image is cut into, a
            divisor of its height and width. None means that it is no image.
        depth: Integer >= 1 or a pair, the number of blocks. Defaults to `(1, 4)`.
        heads: Integer >= 1, or a list to choose among. Defaults to `(2, 4, 8)`.
        width: Integer >= 1 or a pair, the width of the vectors, brought down to a
            multiple of `heads`; it is not used with a budget. Defaults to `(16, 256)`.
        feedforward: Integer >= 1 or a pair, how many times as wide the layer between
            the two is. Defaults to `(1, 4)`.
        parameter_budget: Integer >= 1 or a pair, the largest number of trainable
            parameters: the vectors are as wide as it allows. None means that `width`
            says how wide.
        norm_first: True, False or both: whether normalization is before attention and
            layers, or after what was added. Defaults to `True`.
        activation: One or several, as in `mlp`. Defaults to `("relu", "gelu")`.
        initializer: One or several, as in `mlp`. Defaults to `"glorot_uniform"`.
        normalization: One or several of `"layer"`, `"rms"`, `"batch"` and `"none"`.
            Defaults to `("layer", "rms")`.
        dropout: One or several of those of `mlp`, of what is added. Defaults to
            `("none", "plain")`.
        dropout_rate: Number in (0, 0.9] or a pair. Defaults to `(0.05, 0.5)`.
        output_activation: The activation of the outputs. None means none: logits.

    Returns:
        A function of `hp` that returns a model, as that of `mlp`. The names of its
        hyperparameters begin with `transformer/`.

    Raises:
        ValueError: If an argument is out of range, or when a model is built, if the
            narrowest one is larger than the budget.

    Examples:
        >>> import keras_tuner
        >>> import keras_ext as kx
        >>> space = kx.tuner.spaces.transformer(
        ...     (8, 8, 1), 10, patch_size=2, depth=2, parameter_budget=20_000
        ... )
        >>> hp = keras_tuner.HyperParameters()
        >>> space.widths(hp), space(hp).count_params()
        ([38], 18744)

    References:
        - [Vaswani et al., 2017](https://arxiv.org/abs/1706.03762)
        - [Dosovitskiy et al., 2021](https://arxiv.org/abs/2010.11929)
    """
    size = integer(patch_size, "patch_size", low=1, optional=True)
    if size is None:
        shape, vocabulary = checked_sequence(input_shape, vocabulary)
    else:
        what = "as (height, width, channels), with `patch_size`"
        shape = checked_shape(input_shape, (3,), what)
        require(vocabulary is None, "vocabulary", vocabulary, "None, with patches")
        fits = not any(extent % size for extent in shape[:2])
        rule = f"a divisor of the height and width {shape[:2]}"
        require(fits, "patch_size", size, rule)
    several = heads
    if not isinstance(heads, list | tuple):
        several = [integer(heads, "heads", low=1)]
    return Transformer(
        shape,
        integer(outputs, "outputs", low=1),
        vocabulary,
        size,
        integer_span(depth, "depth"),
        tuple(sorted(set(integers(several, "heads", low=1)))),
        Widths.checked("equal", width, 2.0, parameter_budget),
        integer_span(feedforward, "feedforward"),
        Blocks.checked(activation, initializer, normalization, dropout, dropout_rate),
        flags(norm_first, "norm_first"),
        checked_activation(output_activation),
    )


@dataclass(frozen=True)
class Transformer(Network):
    """See `transformer`."""

    input_shape: tuple[int, ...]
    outputs: int
    vocabulary: int | None
    patch_size: int | None
    depth: tuple[int, int]
    heads: tuple[int, ...]
    shapes: Widths
    feedforward: tuple[int, int]
    blocks: Blocks
    norm_first: tuple[bool, ...]
    output_activation: Activation
    name = "transformer"

    def _ask(self, asked: Asked) -> Record:
        values = {
            "depth": asked.integer("depth", self.depth),
            "heads": asked.choice("heads", self.heads),
            "feedforward": asked.integer("feedforward", self.feedforward),
            **self.blocks.ask(asked),
        }
        kinds = [kind for kind in self.blocks.normalization if kind != "none"]
        with asked.when("normalization", kinds):
            values["norm_first"] = asked.choice("norm_first", self.norm_first)
        return {**values, **self.shapes.ask(asked, "depth", 1)}

    def _widths(self, values: Record) -> list[int]:
        count = partial(self._count, values)
        # Every head has as many units, so that the width is a multiple.
        return resolved(values, [1.0], count, step=values["heads"], extra=False)

    def _count(self, values: Record, widths: list[int]) -> int:
        (width,) = widths
        inner = values["feedforward"] * width
        if self.vocabulary:
            total = self.vocabulary * width
        else:
            places = (self.patch_size or 1) ** 2
            total = (places * self.input_shape[-1] + 1) * width
        norms = num_normalization(values["normalization"], width)
        # Queries, keys, values and outputs, then the two layers behind them.
        block = 4 * width * (width + 1) + (width + 1) * inner + (inner + 1) * width
        total += values["depth"] * (block + 2 * norms)
        return int(
            total + norms * bool(values["norm_first"]) + (width + 1) * self.outputs
        )

    def _model(self, values: Record, widths: list[int]) -> keras.Model:
        (width,) = widths
        kind = "int32" if self.vocabulary else None
        x = inputs = keras.Input(self.input_shape, dtype=kind)
        if self.vocabulary:
            x = keras.layers.Embedding(self.vocabulary, width)(x)
        elif self.patch_size:
            x = patches(x, width, self.patch_size)
        else:
            x = keras.layers.Dense(width)(x)
        offset = positions(x.shape[1], width).tolist()
        # Adds a constant, by a layer that every file can hold.
        x = keras.layers.Rescaling(1.0, offset=offset)(x)
        for _ in range(values["depth"]):
            x = _past(x, partial(_attended, values=values, width=width), values)
            x = _past(x, partial(_mapped, values=values, width=width), values)
        # What the blocks have added up is not normalized yet.
        if values["norm_first"]:
            x = normalized(x, values["normalization"])
        x = keras.layers.GlobalAveragePooling1D()(x)
        outputs = keras.layers.Dense(self.outputs, self.output_activation)(x)
        return keras.Model(inputs, outputs, name=self.name)


def _past(
    x: keras.KerasTensor,
    inner: Callable[[keras.KerasTensor], keras.KerasTensor],
    values: Record,
) -> keras.KerasTensor:
    """What something makes of `x`, added to it."""
    if values["norm_first"]:
        y = inner(normalized(x, values["normalization"]))
        return keras.layers.Add()([x, dropped(y, values)])
    x = keras.layers.Add()([x, dropped(inner(x), values)])
    return normalized(x, values["normalization"])


def _attended(x: keras.KerasTensor, *, values: Record, width: int) -> keras.KerasTensor:
    heads = values["heads"]
    kernel = initializer(values)
    layer = keras.layers.MultiHeadAttention(
        heads, width // heads, kernel_initializer=kernel
    )
    return layer(x, x)


def _mapped(x: keras.KerasTensor, *, values: Record, width: int) -> keras.KerasTensor:
    inner, kernel = values["feedforward"] * width, initializer(values)
    x = keras.layers.Dense(inner, kernel_initializer=kernel)(x)
    x = keras.layers.Activation(values["activation"])(x)
    return keras.layers.Dense(width, kernel_initializer=kernel)(x)
