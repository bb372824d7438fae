"""What stands between the layers of a network."""

from dataclasses import dataclass

import keras

from keras_ext._core._checks import require
from keras_ext._core._typing import Record
from keras_ext.layers.dropout._drop_block import DropBlock1D, DropBlock2D
from keras_ext.layers.dropout._drop_path import DropPath
from keras_ext.layers.dropout._uniform_out import UniformOut
from keras_ext.tuner.spaces._asked import (
    Activation,
    Asked,
    Numbers,
    Words,
    number_span,
    words,
)

ACTIVATIONS = ("relu", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "tanh")
INITIALIZERS = (
    "auto",
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "lecun_uniform",
    "lecun_normal",
    "orthogonal",
)
NORMALIZATIONS = ("none", "batch", "layer", "rms")
DROPOUTS = ("none", "plain", "gaussian", "alpha", "uniform", "drop_path")
CONVOLUTIONAL = (*DROPOUTS, "spatial", "drop_block")
_LIKE_RELU = {"relu", "leaky_relu", "elu", "gelu", "silu", "mish"}


@dataclass(frozen=True)
class Blocks:
    """Activation, initializer, normalization and dropout, the same in all layers.

    Args:
        activation: Which are searched among; as are those of the others.
        initializer: Of kernels.
        normalization: After each layer.
        dropout: After each layer.
        dropout_rate: Two bounds.
    """

    activation: tuple[str, ...]
    initializer: tuple[str, ...]
    normalization: tuple[str, ...]
    dropout: tuple[str, ...]
    dropout_rate: tuple[float, float]

    @classmethod
    def checked(
        cls,
        activation: Words,
        initializer: Words,
        normalization: Words,
        dropout: Words,
        dropout_rate: Numbers,
        *,
        dropouts: tuple[str, ...] = DROPOUTS,
    ) -> "Blocks":
        """From the arguments of a space."""
        return cls(
            words(activation, "activation", ACTIVATIONS),
            words(initializer, "initializer", INITIALIZERS),
            words(normalization, "normalization", NORMALIZATIONS),
            words(dropout, "dropout", dropouts),
            number_span(dropout_rate, "dropout_rate", high=0.9),
        )

    def require_residual(self, residual: tuple[bool, ...]) -> None:
        """A whole layer can be dropped only where there is a way past it."""
        fits = "drop_path" not in self.dropout or residual == (True,)
        hint = 'Set `residual=True`, or leave out "drop_path".'
        require(fits, "dropout", self.dropout, "without drop_path", hint)

    def ask(self, asked: Asked) -> Record:
        """Asks for all of them."""
        values: Record = {
            "activation": asked.choice("activation", self.activation),
            "initializer": asked.choice("initializer", self.initializer),
            "normalization": asked.choice("normalization", self.normalization),
            "dropout": asked.choice("dropout", self.dropout),
        }
        kinds = [kind for kind in self.dropout if kind != "none"]
        with asked.when("dropout", kinds):
            values["dropout_rate"] = asked.number("dropout_rate", self.dropout_rate)
        return values


def checked_activation(given: Activation) -> Activation:
    """The activation of the outputs, as it was given."""
    keras.activations.get(given)
    return given


def initializer(values: Record) -> str:
    """The name of an initializer: `"auto"` is what suits the activation."""
    name, activation = values["initializer"], values["activation"]
    if name != "auto":
        return str(name)
    # Self-normalizing networks need weights of variance 1 / fan_in.
    if activation == "selu":
        return "lecun_normal"
    return "he_normal" if activation in _LIKE_RELU else "glorot_uniform"


def normalized(x: keras.KerasTensor, kind: str) -> keras.KerasTensor:
    """With a layer that normalizes, if there is to be one."""
    if kind == "batch":
        return keras.layers.BatchNormalization()(x)
    if kind == "layer":
        return keras.layers.LayerNormalization()(x)
    return keras.layers.RMSNormalization()(x) if kind == "rms" else x


def num_normalization(kind: str, width: int) -> int:
    """How many parameters that layer has."""
    # Those that are trained: no moving averages.
    return {"none": 0, "batch": 2, "layer": 2, "rms": 1}[kind] * width


def dropped(x: keras.KerasTensor, values: Record) -> keras.KerasTensor:
    """With a dropout layer, if there is to be one."""
    kind, rate = values["dropout"], values["dropout_rate"]
    ndim = len(x.shape) - 2
    if kind == "none":
        return x
    if kind == "spatial":
        return getattr(keras.layers, f"SpatialDropout{ndim}D")(rate)(x)
    if kind == "drop_block":
        size = min(3, *x.shape[1:-1])
        block = {1: DropBlock1D, 2: DropBlock2D}[ndim]
        return block(rate, block_size=size)(x)
    layer = {
        "plain": keras.layers.Dropout,
        "gaussian": keras.layers.GaussianDropout,
        "alpha": keras.layers.AlphaDropout,
        "uniform": UniformOut,
        "drop_path": DropPath,
    }[kind]
    return layer(rate)(x)


def dropped_beside(x: keras.KerasTensor, values: Record, how: str) -> keras.KerasTensor:
    """The same, but a whole layer is only dropped where a way leads past it.

    Args:
        x: The output of the layer.
        values: What `Blocks.ask` found.
        how: How the input of the layer is added to it, `"none"` if it is not.
    """
    alone = how == "none" and values["dropout"] == "drop_path"
    return x if alone else dropped(x, values)


def around(x: keras.KerasTensor, values: Record, how: str) -> keras.KerasTensor:
    """Normalized, activated and dropped: what comes after a layer."""
    x = normalized(x, values["normalization"])
    x = keras.layers.Activation(values["activation"])(x)
    return dropped_beside(x, values, how)
