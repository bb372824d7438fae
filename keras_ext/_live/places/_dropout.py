"""Layers of Keras that drop or add noise."""

from collections.abc import Callable, Iterator

import keras
from keras import layers, ops

from keras_ext._core._typing import Layer, Tensor
from keras_ext._live._dropout_kernel import live_dropout, resolved_noise_shape
from keras_ext._live._hyperparameter import (
    RATE,
    Hyperparameter,
    attribute,
    let_stand_in,
)

_SPATIAL = layers.SpatialDropout1D | layers.SpatialDropout2D | layers.SpatialDropout3D
_RANDOM = {
    layers.Dropout: ("rate", RATE),
    layers.GaussianDropout: ("rate", RATE),
    layers.AlphaDropout: ("rate", RATE),
    layers.GaussianNoise: ("stddev", ((0.0, 1.0), "log")),
}


def of_dropout(layer: Layer, path: str) -> Iterator[Hyperparameter]:
    """The rate, or the deviation of the noise."""
    for kind, (name, limits) in _RANDOM.items():
        if isinstance(layer, kind):
            yield attribute(layer, name, path, limits, lambda: prepare_random(layer))


def prepare_random(layer: Layer) -> None:
    """Makes a layer draw its noise also if its rate was 0, and by a live rate."""
    if getattr(layer, "seed_generator", None) is None:
        generator = keras.random.SeedGenerator(layer.seed)
        object.__setattr__(layer, "seed_generator", generator)
    if isinstance(layer, layers.Dropout):
        let_stand_in(layer, "call", _dropout_call(layer))
    elif isinstance(layer, layers.GaussianDropout):
        let_stand_in(layer, "call", _gaussian_dropout_call(layer))


def _dropout_call(layer: Layer) -> Callable[..., Tensor]:
    def call(inputs: Tensor, training: bool = False) -> Tensor:
        if not training:
            return inputs
        rate = ops.convert_to_tensor(layer.rate, dtype="float32")
        shape = noise_shape(layer, inputs)
        return live_dropout(inputs, rate, shape, layer.seed_generator)

    return call


def _gaussian_dropout_call(layer: Layer) -> Callable[..., Tensor]:
    def call(inputs: Tensor, training: bool = False) -> Tensor:
        if not training:
            return inputs
        rate = ops.convert_to_tensor(layer.rate, dtype="float32")
        deviation = ops.sqrt(rate / (1.0 - rate))
        noise = keras.random.normal(
            ops.shape(inputs), dtype="float32", seed=layer.seed_generator
        )
        return inputs * ops.cast(1.0 + deviation * noise, inputs.dtype)

    return call


def noise_shape(layer: Layer, inputs: Tensor) -> tuple[int | Tensor, ...]:
    """The shape of the mask of a dropout layer, of Keras or ours."""
    if isinstance(layer, _SPATIAL):
        shape = ops.shape(inputs)
        channels_first = getattr(layer, "data_format", "") == "channels_first"
        spatial = range(2, len(shape)) if channels_first else range(1, len(shape) - 1)
        return tuple(1 if i in spatial else n for i, n in enumerate(shape))
    return resolved_noise_shape(layer.noise_shape, inputs)
