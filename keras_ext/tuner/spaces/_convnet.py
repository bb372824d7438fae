"""Convolutional networks."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras

from keras_ext._core._checks import integer, require
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
    CONVOLUTIONAL,
    Blocks,
    around,
    checked_activation,
    initializer,
    num_normalization,
)
from keras_ext.tuner.spaces._network import (
    LayeredNetwork,
    Network,
    added,
    checked_shape,
    skips,
)
from keras_ext.tuner.spaces._widths import Widths, profile


def convnet(  # noqa: PLR0913 - what a network can be
    input_shape: Sequence[int],
    outputs: int,
    *,
    stages: Integers = (1, 3),
    blocks: Integers = (1, 2),
    kernel_size: Integers = 3,
    convolution: Words = "plain",
    widths: Words = "increasing",
    width: Integers = (16, 256),
    ratio: Numbers = (1.5, 8.0),
    parameter_budget: Integers | None = None,
    activation: Words = "relu",
    initializer: Words = "auto",
    normalization: Words = ("none", "batch"),
    residual: Flags = (False, True),
    dropout: Words = ("none", "spatial"),
    dropout_rate: Numbers = (0.05, 0.5),
    output_activation: Activation = None,
) -> Network:
    """The space of convolutional networks, for images and for sequences.

    Stages of blocks; between stages the extent is halved by max pooling, and after the
    last the mean over all places goes to a layer of outputs. A block is a convolution
    with `"same"` padding, then normalization, activation and dropout. The blocks of a
    stage have the same number of filters; `widths`, `width`, `ratio` and
    `parameter_budget` say how many, from stage to stage, as in
    `keras_ext.tuner.spaces.mlp` from layer to layer.

    Args:
        input_shape: `(height, width, channels)` or `(steps, channels)`.
        outputs: Integer >= 1, the number of outputs.
        stages: Integer >= 1 or a pair, how many. Defaults to `(1, 3)`.
        blocks: Integer >= 1 or a pair, how many per stage. Defaults to `(1, 2)`.
        kernel_size: Odd integer >= 1 or a pair, of which the odd ones between are
            searched. Defaults to `3`.
        convolution: `"plain"`, `"separable"` (depthwise, then over channels) or both.
            Defaults to `"plain"`.
        widths: One or several of `"equal"`, `"decreasing"`, `"increasing"`,
            `"bottleneck"`, `"diamond"` and `"free"`. Defaults to `"increasing"`.
        width: Integer >= 1 or a pair, the filters of the widest stage; it is not used
            with a budget. Defaults to `(16, 256)`.
        ratio: Number > 1 or a pair, how many times as wide the widest stage is as the
            narrowest. Defaults to `(1.5, 8.0)`.
        parameter_budget: Integer >= 1 or a pair, the largest number of trainable
            parameters. None means that `width` says how wide.
        activation: One or several, as in `mlp`. Defaults to `"relu"`.
        initializer: One or several, as in `mlp`. Defaults to `"auto"`.
        normalization: One or several of `"none"`, `"batch"`, `"layer"` and `"rms"`.
            Defaults to `("none", "batch")`.
        residual: True, False or both: whether the input of a block is added to its
            output, from the second block on; through a convolution of size 1 where the
            filters differ. Defaults to `(False, True)`.
        dropout: One or several of those of `mlp`, `"spatial"`, whole channels, and
            `"drop_block"`, squares of 3 places. Defaults to `("none", "spatial")`.
        dropout_rate: Number in (0, 0.9] or a pair. Defaults to `(0.05, 0.5)`.
        output_activation: The activation of the outputs. None means none: logits.

    Returns:
        A function of `hp` that returns a model, as that of `mlp`. The names of its
        hyperparameters begin with `convnet/`.

    Raises:
        ValueError: If an argument is out of range, the input too small to be halved so
            often, or when a model is built, if the narrowest one is larger than the
            budget.

    Examples:
        >>> import keras_tuner
        >>> import keras_ext as kx
        >>> space = kx.tuner.spaces.convnet(
        ...     (8, 8, 1), 10, stages=2, blocks=1, parameter_budget=5_000, ratio=2.0
        ... )
        >>> hp = keras_tuner.HyperParameters()
        >>> space.declare(hp)
        >>> space.widths(hp), space(hp).count_params()
        ([16, 31], 4975)
    """
    shape = checked_shape(input_shape, (2, 3), "the last of which is of channels")
    return Convnet(
        shape,
        integer(outputs, "outputs", low=1),
        integer_span(stages, "stages"),
        integer_span(blocks, "blocks"),
        _odd(kernel_size),
        words(convolution, "convolution", ("plain", "separable")),
        Widths.checked(widths, width, ratio, parameter_budget),
        Blocks.checked(
            activation,
            initializer,
            normalization,
            dropout,
            dropout_rate,
            dropouts=CONVOLUTIONAL,
        ),
        flags(residual, "residual"),
        checked_activation(output_activation),
    )


def _odd(given: Integers) -> tuple[int, ...]:
    low, high = integer_span(given, "kernel_size")
    sizes = tuple(size for size in range(low, high + 1) if size % 2)
    require(bool(sizes), "kernel_size", given, "odd, or a pair with odd ones between")
    return sizes


@dataclass(frozen=True)
class Convnet(LayeredNetwork):
    """See `convnet`."""

    input_shape: tuple[int, ...]
    outputs: int
    stages: tuple[int, int]
    blocks_per_stage: tuple[int, int]
    kernel_size: tuple[int, ...]
    convolution: tuple[str, ...]
    shapes: Widths
    blocks: Blocks
    residual: tuple[bool, ...]
    output_activation: Activation
    name = "convnet"
    along = "stages"

    def __post_init__(self) -> None:
        super().__post_init__()
        # Each stage but the first halves the places, of which one has to be left.
        most = min(self.input_shape[:-1]).bit_length()
        rule = f"at most {most} for an input of shape {self.input_shape}"
        require(self.stages[1] <= most, "stages", self.stages[1], rule)

    def _ask(self, asked: Asked) -> Record:
        values = {
            "stages": asked.integer("stages", self.stages),
            "blocks": asked.integer("blocks", self.blocks_per_stage),
            "kernel_size": asked.choice("kernel_size", self.kernel_size),
            "convolution": asked.choice("convolution", self.convolution),
            "residual": self._ask_residual(asked),
            **self.blocks.ask(asked),
        }
        return {**values, **self.shapes.ask(asked, "stages", self.stages[1])}

    def _ask_residual(self, asked: Asked) -> bool | None:
        """No way leads past the first block: one alone has none to ask for."""
        low, high = self.blocks_per_stage
        with asked.when("blocks", range(max(2, low), high + 1)):
            of_several = asked.choice("residual", self.residual)
        later = range(2, self.stages[1] + 1)
        with asked.when("blocks", range(low, 2)), asked.when("stages", later):
            of_one = asked.choice("residual", self.residual)
        return of_one if of_several is None else of_several

    def _skips(self, values: Record) -> list[str]:
        """Of each block of all stages."""
        shape = profile(values, values["stages"])
        of_blocks = [share for share in shape for _ in range(values["blocks"])]
        return skips(values["residual"], of_blocks)

    def _count(self, values: Record, widths: list[int]) -> int:
        places = values["kernel_size"] ** (len(self.input_shape) - 1)
        before, total = self.input_shape[-1], 0
        filters = [width for width in widths for _ in range(values["blocks"])]
        for width, skip in zip(filters, self._skips(values), strict=True):
            if values["convolution"] == "plain":
                total += (places * before + 1) * width
            else:
                # A separable convolution has its only bias behind the pointwise kernel.
                total += places * before + (before + 1) * width
            total += num_normalization(values["normalization"], width)
            total += before * width * (skip == "projection")
            before = width
        return total + (before + 1) * self.outputs

    def _model(self, values: Record, widths: list[int]) -> keras.Model:
        x = inputs = keras.Input(self.input_shape)
        ndim, how = len(self.input_shape) - 1, iter(self._skips(values))
        for stage, width in enumerate(widths):
            if stage:
                x = getattr(keras.layers, f"MaxPooling{ndim}D")(2)(x)
            for _ in range(values["blocks"]):
                skip = next(how)
                y = around(_convolved(x, width, values, ndim), values, skip)
                linear = _layer("Conv", ndim)(width, 1, use_bias=False)
                x = added(x, y, skip, linear)
        x = getattr(keras.layers, f"GlobalAveragePooling{ndim}D")()(x)
        outputs = keras.layers.Dense(self.outputs, self.output_activation)(x)
        return keras.Model(inputs, outputs, name=self.name)


def _layer(kind: str, ndim: int) -> type[keras.Layer]:
    return getattr(keras.layers, f"{kind}{ndim}D")


def _convolved(
    x: keras.KerasTensor, width: int, values: Record, ndim: int
) -> keras.KerasTensor:
    size, kernel = values["kernel_size"], initializer(values)
    if values["convolution"] == "plain":
        layer = _layer("Conv", ndim)
        return layer(width, size, padding="same", kernel_initializer=kernel)(x)
    return _layer("SeparableConv", ndim)(
        width,
        size,
        padding="same",
        depthwise_initializer=kernel,
        pointwise_initializer=kernel,
    )(x)
