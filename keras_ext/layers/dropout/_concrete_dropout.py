"""Dropout that learns its rate."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ext._core._checks import flag, number, require
from keras_ext._core._typing import Config, Shape, Tensor
from keras_ext._live._hyper_variable import live_factor
from keras_ext.layers.dropout._between import Between
from keras_ext.layers.dropout._noise_layer import NoiseLayer

# A rate of 0.001 or 0.999: beyond, the logit would hardly move any more.
_LARGEST_LOGIT = 7.0
# Those of the authors' code.
_DENSE_TEMPERATURE = 0.1
_SPATIAL_TEMPERATURE = 2 / 3
# Keeps the logit of a uniform number finite in float32.
_TINY = 1e-7


@keras.saving.register_keras_serializable(package="keras_ext")
class ConcreteDropout(NoiseLayer, keras.layers.Wrapper):
    """Wraps a layer: drops its inputs at a rate that is learned by gradient descent.

    The mask is relaxed to numbers between 0 and 1 (a concrete distribution), through
    which the gradient reaches the rate. A penalty on the weights and the rate, added to
    the loss, makes the network an approximation of a Gaussian process: its rates say
    how uncertain the weights are, and fall as data is added. Use it to get a rate per
    layer without a search, or for `keras_ext.uncertainty.mc_predict`.

    The penalty is `weight_penalty * sum(kernel**2) / (1 - rate)` less
    `dropout_penalty * features * entropy(rate)`. It contains L2 regularization: give
    the layer no `kernel_regularizer`. Both factors are live.

    Masking: the mask is passed on unchanged.

    Args:
        layer: The layer to wrap, with a `kernel`: `Dense`, a convolution.
        initial_rate: Number in (0.001, 0.95], the rate to begin with. Defaults to
            `0.1`.
        weight_penalty: Number >= 0. In the paper it is `l**2 / (tau * N)`, with a prior
            length scale `l`, the precision of the noise in the targets `tau`, 1 for
            classification, and the number of training examples `N`. Defaults to
            `1e-6`.
        dropout_penalty: Number >= 0: `2 / (tau * N)` for the mean squared error, and
            `1 / N` for cross-entropy. Defaults to `1e-5`.
        spatial: Whether to drop whole channels. Defaults to `False`.
        temperature: Number > 0; the lower, the closer the mask is to 0 and 1. None
            means 0.1, and 2/3 if `spatial`.
        seed: Integer seed of the mask. None means random.
        **kwargs: `name`, `dtype` and `trainable`, as in `keras.layers.Layer`.

    Call arguments:
        inputs: Floating-point tensor that the layer takes.
        training: Whether to drop. Defaults to `False`.

    Output shape:
        That of the layer.

    Raises:
        ValueError: If an argument is out of range, or the layer has no kernel.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> model = keras.Sequential(
        ...     [
        ...         keras.Input((4,)),
        ...         kx.layers.ConcreteDropout(keras.layers.Dense(8, activation="relu")),
        ...         kx.layers.ConcreteDropout(keras.layers.Dense(1)),
        ...     ]
        ... )
        >>> [layer.rate for layer in model.layers]
        [0.1, 0.1]

    References:
        - [Gal, Hron and Kendall, 2017](https://arxiv.org/abs/1705.07832)
    """

    def __init__(
        self,
        layer: keras.layers.Layer,
        *,
        initial_rate: float = 0.1,
        weight_penalty: float = 1e-6,
        dropout_penalty: float = 1e-5,
        spatial: bool = False,
        temperature: float | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        require(isinstance(layer, keras.Layer), "layer", layer, "a Keras layer")
        super().__init__(seed, layer=layer, **kwargs)
        self.initial_rate = number(initial_rate, "initial_rate", above=0.001, high=0.95)
        self.spatial = flag(spatial, "spatial")
        self.temperature = number(temperature, "temperature", above=0, optional=True)
        self.weight_penalty = live_factor(weight_penalty, "weight_penalty")
        self.dropout_penalty = live_factor(dropout_penalty, "dropout_penalty")

    @property
    def rate(self) -> float:
        """The present rate."""
        if not self.built:
            return float(self.initial_rate)
        rate = ops.sigmoid(ops.convert_to_tensor(self.rate_logit))
        # Without the digits that float32 adds to a rate such as 0.1.
        return float(f"{float(rate):.6g}")

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        if not self.layer.built:
            self.layer.build(input_shape)
            self.layer.built = True
        require(
            hasattr(self.layer, "kernel"), "layer", self.layer, "a layer with a kernel"
        )
        channels_first = getattr(self.layer, "data_format", "") == "channels_first"
        self._channel_axis = 1 if channels_first else len(input_shape) - 1
        self._features = input_shape[self._channel_axis]
        logit = np.log(self.initial_rate / (1 - self.initial_rate))
        # With autocast, Keras would give it to the layer in half precision.
        self.rate_logit = self.add_weight(
            shape=(),
            dtype="float32",
            autocast=False,
            initializer=keras.initializers.Constant(logit),
            constraint=Between(-_LARGEST_LOGIT, _LARGEST_LOGIT),
            name="rate_logit",
        )

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        self.add_loss(self._loss())
        return self.layer(self.noisy(inputs) if training else inputs)

    def noisy(self, inputs: Tensor) -> Tensor:
        logit = ops.convert_to_tensor(self.rate_logit)
        shape = ops.shape(inputs)
        if self.spatial:
            keep = (0, self._channel_axis)
            shape = tuple(n if i in keep else 1 for i, n in enumerate(shape))
        noise = keras.random.uniform(
            shape, _TINY, 1.0 - _TINY, dtype="float32", seed=self.seed_generator
        )
        temperature = self.temperature
        if temperature is None:
            temperature = _SPATIAL_TEMPERATURE if self.spatial else _DENSE_TEMPERATURE
        drop = (logit + ops.log(noise) - ops.log(1.0 - noise)) / temperature
        # 1 - sigmoid(x) and 1 / (1 - sigmoid(x)), without the cancellation.
        keep = ops.sigmoid(-drop) * (1.0 + ops.exp(logit))
        return inputs * ops.cast(keep, inputs.dtype)

    def _loss(self) -> Tensor:
        logit = ops.convert_to_tensor(self.rate_logit)
        kernel = ops.cast(self.layer.kernel, "float32")
        # 1 + exp(logit) is 1 / (1 - rate).
        weights = ops.sum(ops.square(kernel)) * (1.0 + ops.exp(logit))
        rate = ops.sigmoid(logit)
        # -log(rate) is softplus(-logit), also where the rate rounds to 0 or 1.
        entropy = rate * ops.softplus(-logit) + (1.0 - rate) * ops.softplus(logit)
        return (
            self.weight_penalty.value * weights
            - self.dropout_penalty.value * self._features * entropy
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return self.layer.compute_output_shape(input_shape)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "initial_rate": self.initial_rate,
            "spatial": self.spatial,
            "temperature": self.temperature,
        }
