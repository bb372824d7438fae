"""Makes the rate of Keras's own dropout layers live, for the time of a `fit`."""

from typing import Any

import keras
from keras import layers, ops

from keras_ext.core._hyper_variable import HyperVariable
from keras_ext.core._sublayers import sublayers
from keras_ext.core._typing import Tensor
from keras_ext.layers._adaptive_dropout import (
    LARGEST_RATE,
    AdaptiveDropout,
    live_dropout,
    rate_variable,
    resolved_noise_shape,
)

_SPATIAL = layers.SpatialDropout1D | layers.SpatialDropout2D | layers.SpatialDropout3D
# They hold a Dropout layer but read the rate elsewhere too.
_ATTENTION = layers.MultiHeadAttention | layers.GroupQueryAttention


class LiveDropout:
    """The live rate of one dropout layer of a model.

    A `keras.layers.Dropout` compiles its rate into the step. While this is in place,
    the layer is called through a function that reads a variable instead; `release`
    takes it away. All the while the layer is an ordinary Dropout with the present
    rate to everyone who saves or clones it.

    Args:
        layer: An `AdaptiveDropout`, `Dropout` or `SpatialDropout` layer.
    """

    def __init__(self, layer: keras.layers.Layer) -> None:
        self.layer = layer
        self.path = layer.path or layer.name
        self._replaced = not isinstance(layer, AdaptiveDropout)
        # Of a `fit` that was interrupted.
        _uninstall(layer)
        if self._replaced:
            self.rate = rate_variable(min(float(layer.rate), LARGEST_RATE))
            self.rate.build()
            _install(layer, self.rate)
        else:
            self.rate = layer.rate

    @property
    def value(self) -> float:
        """The present rate."""
        return float(self.rate)

    def assign_on_scale(self, position: float) -> None:
        """Sets the rate from its logit; the next step uses it."""
        self.rate.assign_on_scale(position)
        self._show()

    def assign(self, value: float) -> None:
        """Sets the rate; the next step uses it."""
        self.rate.assign(value)
        self._show()

    def _show(self) -> None:
        if self._replaced:
            # What `get_config` saves.
            self.layer.rate = float(self.rate)

    def release(self) -> None:
        """Gives the layer its own call back, with the last rate."""
        if self._replaced:
            _uninstall(self.layer)

    @staticmethod
    def remove_all(model: keras.Model) -> bool:
        """Releases every layer of a model; whether there was one to release."""
        released = [_uninstall(layer) for layer in sublayers(model)]
        return any(released)


def dropout_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Lists the layers of a model whose rate `LiveDropout` can move."""
    found = sublayers(model)
    hidden = {
        id(inner)
        for layer in found
        if isinstance(layer, _ATTENTION)
        for inner in sublayers(layer)
    }
    kinds = (layers.Dropout, AdaptiveDropout)
    return [x for x in found if isinstance(x, kinds) and id(x) not in hidden]


def _install(layer: Any, rate: HyperVariable) -> None:
    if layer.rate == 0:
        # Keras makes it only for rates above 0. The layer is built, and would not
        # take a new state variable through its ordinary door.
        object.__setattr__(
            layer, "seed_generator", keras.random.SeedGenerator(layer.seed)
        )

    def call(inputs: Tensor, training: bool = False) -> Tensor:
        if not training:
            return inputs
        shape = _noise_shape(layer, inputs)
        return live_dropout(inputs, rate.value, shape, layer.seed_generator)

    # Past Keras's attribute tracking: this is not part of the layer's state.
    object.__setattr__(layer, "call", call)
    object.__setattr__(layer, "live_rate", rate)


def _uninstall(layer: Any) -> bool:
    installed = "live_rate" in vars(layer)
    if installed:
        object.__delattr__(layer, "call")
        object.__delattr__(layer, "live_rate")
    return installed


def _noise_shape(layer: Any, inputs: Tensor) -> Any:
    if isinstance(layer, _SPATIAL):
        shape = ops.shape(inputs)
        channels_first = getattr(layer, "data_format", "") == "channels_first"
        spatial = range(2, len(shape)) if channels_first else range(1, len(shape) - 1)
        return tuple(1 if i in spatial else n for i, n in enumerate(shape))
    return resolved_noise_shape(layer.noise_shape, inputs)
