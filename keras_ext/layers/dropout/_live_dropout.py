"""Dropout whose rate can change while training."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_ext._core._typing import Config, Tensor
from keras_ext._live._dropout_kernel import live_dropout, resolved_noise_shape
from keras_ext.layers.dropout._noise_layer import DroppingLayer, checked_noise_shape


@keras.saving.register_keras_serializable(package="keras_ext")
class LiveDropout(DroppingLayer):
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
        >>> layer = kx.layers.LiveDropout(0.0, seed=0)
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
        *,
        noise_shape: Sequence[int | None] | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(rate, seed, **kwargs)
        self.noise_shape = checked_noise_shape(noise_shape)

    def noisy(self, inputs: Tensor) -> Tensor:
        shape = resolved_noise_shape(self.noise_shape, inputs)
        return live_dropout(inputs, self.rate.value, shape, self.seed_generator)

    def get_config(self) -> Config:
        return {**super().get_config(), "noise_shape": self.noise_shape}
