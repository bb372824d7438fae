"""Dropout whose rate depends on the input."""

from typing import Any

import keras
from keras import ops

from keras_ext._core._checks import number
from keras_ext._core._typing import Config, Function, Tensor
from keras_ext._live._hyper_variable import HyperVariable
from keras_ext.layers.dropout._noise_layer import NoiseLayer


@keras.saving.register_keras_serializable(package="keras_ext")
class Standout(NoiseLayer):
    """An activation that keeps a unit with a probability that grows with its input.

    Use it in place of an activation, after a layer without one. An input `z` becomes
    `activation(z)` with probability `sigmoid(alpha * z + beta)` while training, and 0
    otherwise; in inference, it becomes their product, the expected value. It acts as
    the standout network of the paper whose weights are tied to those of the layer
    before. `alpha` and `beta` are live: a larger `beta` keeps more, and with `alpha` 0
    it is dropout of one rate, without the division by `1 - rate`.

    Masking: the mask is passed on unchanged.

    Args:
        activation: The activation, as in `keras.layers.Activation`. Defaults to
            `"relu"`.
        alpha: Number, how much the input matters. Defaults to `1.0`.
        beta: Number, the logit of the probability to keep an input of 0. Defaults to
            `0.0`.
        seed: Integer seed of the mask. None means random.
        **kwargs: `name`, `dtype` and `trainable`, as in `keras.layers.Layer`.

    Call arguments:
        inputs: Floating-point tensor of any rank.
        training: Whether to drop. Defaults to `False`.

    Output shape:
        The shape of the inputs.

    Raises:
        ValueError: If an argument is not of this form.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> model = keras.Sequential(
        ...     [keras.Input((3,)), keras.layers.Dense(4), kx.layers.Standout("relu")]
        ... )
        >>> float(kx.layers.Standout("linear")(keras.ops.ones((1, 1)))[0, 0])
        0.731...

    References:
        - [Ba and Frey, 2013](https://papers.nips.cc/paper/5032-adaptive-dropout-for-training-deep-neural-networks)
    """

    def __init__(
        self,
        activation: str | Config | Function | None = "relu",
        *,
        alpha: float = 1.0,
        beta: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, **kwargs)
        self.activation = keras.activations.get(activation)
        self.alpha = HyperVariable(number(alpha, "alpha"), "alpha")
        self.beta = HyperVariable(number(beta, "beta"), "beta")

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        outputs = self.activation(inputs)
        logits = self.alpha.value * ops.cast(inputs, "float32") + self.beta.value
        keep = ops.sigmoid(logits)
        if not training:
            return outputs * ops.cast(keep, outputs.dtype)
        noise = keras.random.uniform(
            ops.shape(inputs), dtype="float32", seed=self.seed_generator
        )
        return ops.where(noise < keep, outputs, ops.zeros((), outputs.dtype))

    def get_config(self) -> Config:
        activation = keras.activations.serialize(self.activation)
        return {**super().get_config(), "activation": activation}
