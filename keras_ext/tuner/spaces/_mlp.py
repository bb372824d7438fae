"""Perceptrons."""

import math
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
)
from keras_ext.tuner.spaces._blocks import (
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
)
from keras_ext.tuner.spaces._widths import Widths


def mlp(  # noqa: PLR0913 - what a network can be
    input_shape: Sequence[int],
    outputs: int,
    *,
    depth: Integers = (1, 4),
    widths: Words = "equal",
    width: Integers = (16, 512),
    ratio: Numbers = (1.5, 16.0),
    parameter_budget: Integers | None = None,
    activation: Words = "relu",
    initializer: Words = "auto",
    normalization: Words = ("none", "batch", "layer"),
    residual: Flags = False,
    dropout: Words = ("none", "plain"),
    dropout_rate: Numbers = (0.05, 0.5),
    output_activation: Activation = None,
) -> Network:
    """The space of perceptrons: how deep, how wide, and what between the layers.

    What is given as one value is so; what is given as a list of words is chosen among,
    and a pair of numbers is searched between. A layer is `Dense`, then normalization,
    activation and dropout. Widths need two or three hyperparameters at any depth, in
    place of one for each layer: a shape, and how far it goes. Of a layer at the place
    `t`, 0 for the first and 1 for the last, the width is that of the widest layer times
    `ratio` to the power of

    - `"equal"`: 0,
    - `"decreasing"`: `-t`, and `"increasing"`: `t - 1`,
    - `"bottleneck"`: `|2t - 1| - 1`, narrow in the middle, and `"diamond"`:
      `-|2t - 1|`, wide in the middle, both moved and scaled to `[-1, 0]`;

    and with `"free"` each layer has a share of its own, from 1 down to one divided by
    the largest `ratio`.

    With `parameter_budget`, shapes are compared at the same size: all widths are scaled
    together as far as the number of trainable parameters allows; then, without
    residuals, each layer from the first on gets one unit more if that fits.

    Args:
        input_shape: The shape of a row, without the batch. More than one axis is made
            flat.
        outputs: Integer >= 1, the number of outputs.
        depth: Integer >= 1 or a pair, the number of hidden layers. Defaults to
            `(1, 4)`.
        widths: One or several of `"equal"`, `"decreasing"`, `"increasing"`,
            `"bottleneck"`, `"diamond"` and `"free"`. Defaults to `"equal"`.
        width: Integer >= 1 or a pair, the units of the widest layer; it is not used
            with a budget. Defaults to `(16, 512)`.
        ratio: Number > 1 or a pair, how many times as wide the widest layer is as the
            narrowest. Defaults to `(1.5, 16.0)`.
        parameter_budget: Integer >= 1 or a pair, the largest number of trainable
            parameters. None means that `width` says how wide.
        activation: One or several of `"relu"`, `"leaky_relu"`, `"elu"`, `"selu"`,
            `"gelu"`, `"silu"`, `"mish"` and `"tanh"`. Defaults to `"relu"`.
        initializer: One or several initializers of kernels by their names in Keras, or
            `"auto"`, what suits the activation: He's, LeCun's for `"selu"`, Glorot's
            for `"tanh"`. Defaults to `"auto"`.
        normalization: One or several of `"none"`, `"batch"`, `"layer"` and `"rms"`.
            Defaults to `("none", "batch", "layer")`.
        residual: True, False or both: whether the input of a hidden layer is added to
            its output, from the second on; through a linear map without bias where the
            widths differ. Defaults to `False`.
        dropout: One or several of `"none"`, `"plain"`, `"gaussian"`, `"alpha"`,
            `"uniform"` (`keras_ext.layers.UniformOut`) and, with `residual=True`,
            `"drop_path"` of layers whose input is added. Defaults to
            `("none", "plain")`.
        dropout_rate: Number in (0, 0.9] or a pair. Defaults to `(0.05, 0.5)`.
        output_activation: The activation of the outputs. None means none: logits.

    Returns:
        A function of `hp` that returns a model, which is not compiled. Its
        `declare(hp)` declares all hyperparameters, whose names begin with `mlp/`, and
        its `widths(hp)` returns the widths. `keras_ext.tuner.SpaceModel` makes a
        hypermodel of it.

    Raises:
        ValueError: If an argument is out of range, or when a model is built, if the
            narrowest one is larger than the budget.

    Examples:
        >>> import keras_tuner
        >>> import keras_ext as kx
        >>> shapes = ["equal", "decreasing"]
        >>> space = kx.tuner.spaces.mlp(
        ...     (64,), 10, depth=3, widths=shapes, parameter_budget=20_000, ratio=4.0
        ... )
        >>> hp = keras_tuner.HyperParameters()
        >>> space.declare(hp)
        >>> [h.name for h in hp.space]
        ['mlp/normalization', 'mlp/dropout', 'mlp/dropout_rate', 'mlp/widths']
        >>> space.widths(hp), space(hp).count_params()
        ([83, 82, 82], 19919)
        >>> hp.values["mlp/widths"] = "decreasing"
        >>> space.widths(hp), space(hp).count_params()
        ([132, 66, 34], 19986)
    """
    return MLP(
        checked_shape(input_shape, range(1, 5), "the shape of a row"),
        integer(outputs, "outputs", low=1),
        integer_span(depth, "depth"),
        Widths.checked(widths, width, ratio, parameter_budget),
        Blocks.checked(activation, initializer, normalization, dropout, dropout_rate),
        flags(residual, "residual"),
        checked_activation(output_activation),
    )


@dataclass(frozen=True)
class MLP(LayeredNetwork):
    """See `mlp`."""

    input_shape: tuple[int, ...]
    outputs: int
    depth: tuple[int, int]
    shapes: Widths
    blocks: Blocks
    residual: tuple[bool, ...]
    output_activation: Activation
    name = "mlp"

    def _ask(self, asked: Asked) -> Record:
        depth = asked.integer("depth", self.depth)
        values = {"depth": depth, **self.blocks.ask(asked)}
        # No way leads past the first layer: one alone has none to ask for.
        with asked.when("depth", range(2, self.depth[1] + 1)):
            values["residual"] = asked.choice("residual", self.residual)
        return {**values, **self.shapes.ask(asked, "depth", self.depth[1])}

    def _count(self, values: Record, widths: list[int]) -> int:
        before, total = math.prod(self.input_shape), 0
        for width, skip in zip(widths, self._skips(values), strict=True):
            total += (before + 1) * width
            total += num_normalization(values["normalization"], width)
            total += before * width * (skip == "projection")
            before = width
        return total + (before + 1) * self.outputs

    def _model(self, values: Record, widths: list[int]) -> keras.Model:
        inputs = keras.Input(self.input_shape)
        x = inputs if len(self.input_shape) == 1 else keras.layers.Flatten()(inputs)
        kernel = initializer(values)
        for width, skip in zip(widths, self._skips(values), strict=True):
            y = keras.layers.Dense(width, kernel_initializer=kernel)(x)
            linear = keras.layers.Dense(width, use_bias=False)
            x = added(x, around(y, values, skip), skip, linear)
        outputs = keras.layers.Dense(self.outputs, self.output_activation)(x)
        return keras.Model(inputs, outputs, name=self.name)
