"""Dropout whose rate can change while training."""

from typing import Any

import keras

from keras_ext.core._checks import is_integer, is_number, require
from keras_ext.core._dropout_kernel import (
    LARGEST_RATE,
    live_dropout,
    resolved_noise_shape,
)
from keras_ext.core._hyper_variable import HyperVariable
from keras_ext.core._typing import Shape, Tensor


def rate_variable(rate: float) -> HyperVariable:
    """Makes the live rate of a dropout layer."""
    return HyperVariable(rate, "rate", bounds=(0.0, LARGEST_RATE), scale="logit")


@keras.saving.register_keras_serializable(package="keras_ext")
class AdaptiveDropout(keras.layers.Layer):
    """Drops inputs at a rate that can change while training.

    It computes what `keras.layers.Dropout` does: while training, every input is set
    to zero with probability `rate`, and the others are divided by `1 - rate`. But the
    rate lives on the device. Assigning it (`layer.rate = 0.3`, or
    `layer.rate.assign(0.3)`) takes effect in the next step of a running `fit`, without
    a retrace; with `keras.layers.Dropout` it would have none. The rate is saved with
    the weights. At rate 0 the inputs pass unchanged, to the bit.

    `keras_ext.callbacks.AdaptiveDropout` moves the rate by the overfitting gap; it
    also works on `keras.layers.Dropout`.

    Masking: the mask is passed on unchanged.

    Args:
        rate: Number in [0, 0.95], the initial probability of dropping an input.
        noise_shape: Shape of the mask, with an integer or None (as in the inputs) for
            each axis; 1 drops a whole axis together. None means one mask value per
            input.
        seed: Integer seed of the mask. None means random.
        **kwargs: `name`, `dtype` and `trainable`, as in `keras.layers.Layer`.

    Call arguments:
        inputs: Floating-point tensor of any rank.
        training: Whether to drop. Defaults to `False`.

    Output shape:
        The shape of the inputs.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import numpy as np
        >>> import keras_ext as kx
        >>> layer = kx.layers.AdaptiveDropout(0.0, seed=0)
        >>> ones = np.ones((1, 1000), "float32")
        >>> float(np.mean(layer(ones, training=True) == 0))
        0.0
        >>> layer.rate = 0.5
        >>> bool(0.45 < np.mean(layer(ones, training=True) == 0) < 0.55)
        True

    References:
        - [Srivastava et al., 2014](https://jmlr.org/papers/v15/srivastava14a.html)
    """

    def __init__(
        self,
        rate: float,
        noise_shape: Any = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        require(
            is_number(rate) and 0 <= rate <= LARGEST_RATE,
            "rate",
            rate,
            f"a number in [0, {LARGEST_RATE}]",
        )
        require(
            noise_shape is None
            or isinstance(noise_shape, tuple | list)
            and all(n is None or (is_integer(n) and n > 0) for n in noise_shape),
            "noise_shape",
            noise_shape,
            "a list of positive integers and None, or None",
        )
        require(seed is None or is_integer(seed), "seed", seed, "an integer or None")
        self._rate = rate_variable(rate)
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True

    @property
    def rate(self) -> HyperVariable:
        """The rate. Assigning a number sets its value."""
        return self._rate

    @rate.setter
    def rate(self, value: float) -> None:
        self._rate.assign(value)

    def build(self, input_shape: Shape) -> None:
        # Keras tracks the variable, and so saves and loads it, by this attribute.
        self._rate_value = self._rate.build()

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training:
            return inputs
        shape = resolved_noise_shape(self.noise_shape, inputs)
        return live_dropout(inputs, self._rate.value, shape, self.seed_generator)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "rate": float(self._rate),
            "noise_shape": self.noise_shape,
            "seed": self.seed,
        }
