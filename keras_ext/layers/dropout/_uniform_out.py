"""Uniform multiplicative noise."""

from typing import Any

import keras
from keras import ops

from keras_ext._core._checks import number
from keras_ext._core._typing import Tensor
from keras_ext._live._hyper_variable import HyperVariable
from keras_ext.layers.dropout._noise_layer import NoiseLayer


@keras.saving.register_keras_serializable(package="keras_ext")
class UniformOut(NoiseLayer):
    """Multiplies inputs by random numbers near 1 (Uout).

    While training, every input is multiplied by `1 + r`, with `r` uniform between
    `-beta` and `beta`. Dropout before a batch normalization changes the variance that
    it sees between training and inference; this noise has a variance of `beta**2 / 3`,
    where dropout has `rate / (1 - rate)`, and so it shifts it far less. `beta` is
    live, and at 0 the inputs pass unchanged, to the bit.

    Masking: the mask is passed on unchanged.

    Args:
        beta: Number in [0, 1], the initial width of the noise. Defaults to `0.1`.
        seed: Integer seed of the noise. None means random.
        **kwargs: `name`, `dtype` and `trainable`, as in `keras.layers.Layer`.

    Call arguments:
        inputs: Floating-point tensor of any rank.
        training: Whether to add noise. Defaults to `False`.

    Output shape:
        The shape of the inputs.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import numpy as np
        >>> import keras_ext as kx
        >>> layer = kx.layers.UniformOut(0.1, seed=0)
        >>> y = layer(np.ones((1, 1000), "float32"), training=True).numpy()
        >>> bool(0.9 <= y.min() < 0.91 and 1.09 < y.max() <= 1.1)
        True

    References:
        - [Li et al., 2018](https://arxiv.org/abs/1801.05134)
    """

    def __init__(
        self, beta: float = 0.1, *, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(seed, **kwargs)
        self.beta = HyperVariable(
            number(beta, "beta", low=0, high=1),
            "beta",
            bounds=(0.0, 1.0),
            scale="logit",
        )

    def noisy(self, inputs: Tensor) -> Tensor:
        noise = keras.random.uniform(
            ops.shape(inputs), -1.0, 1.0, dtype="float32", seed=self.seed_generator
        )
        return inputs * ops.cast(1.0 + self.beta.value * noise, inputs.dtype)
