"""Gaussian dropout that learns its strength."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ext._core._checks import choice, number
from keras_ext._core._typing import Config, Shape, Tensor
from keras_ext._live._hyper_variable import live_factor
from keras_ext.layers.dropout._between import Between
from keras_ext.layers.dropout._noise_layer import NoiseLayer

# The polynomial of Kingma et al. for the divergence, which holds up to alpha = 1.
_COEFFICIENTS = (1.16145124, -1.50204118, 0.58629921)
_LOWEST = -10.0


@keras.saving.register_keras_serializable(package="keras_ext")
class VariationalDropout(NoiseLayer):
    """Multiplies inputs by Gaussian noise whose variance is learned.

    While training, each input is multiplied by a normal number of mean 1 and variance
    `alpha`; dropout of the rate `alpha / (1 + alpha)` has the same variance. `alpha` is
    trained with the weights: the loss gets the Kullback-Leibler divergence of the noisy
    weights from a log-uniform prior, which falls as `alpha` rises to its limit of 1.
    So features that the loss needs keep a small variance, and others get a large one.

    Masking: the mask is passed on unchanged.

    Args:
        kl_weight: Number >= 0, the factor of the divergence in the loss; it is live.
            One over the number of training examples is right for a loss that is a mean
            log-likelihood; raising it from 0 over the first epochs, with
            `keras_ext.callbacks.HyperparameterScheduler`, lets the weights form first.
        initial_alpha: Number in (0, 1], the variance to begin with. Defaults to
            `0.25`.
        per: `"feature"` for a variance for each feature of the last axis, `"layer"`
            for one in all. Defaults to `"feature"`.
        seed: Integer seed of the noise. None means random.
        **kwargs: `name`, `dtype` and `trainable`, as in `keras.layers.Layer`.

    Call arguments:
        inputs: Floating-point tensor.
        training: Whether to add noise. Defaults to `False`.

    Output shape:
        The shape of the inputs.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> layer = kx.layers.VariationalDropout(kl_weight=1 / 1000)
        >>> model = keras.Sequential([keras.Input((3,)), layer])
        >>> layer.alpha.tolist()
        [0.25, 0.25, 0.25]

    References:
        - [Kingma, Salimans and Welling, 2015](https://arxiv.org/abs/1506.02557)
    """

    def __init__(
        self,
        kl_weight: float,
        *,
        initial_alpha: float = 0.25,
        per: str = "feature",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, **kwargs)
        self.kl_weight = live_factor(kl_weight, "kl_weight")
        self.initial_alpha = number(initial_alpha, "initial_alpha", above=0, high=1)
        self.per = choice(per, "per", ("feature", "layer"))

    @property
    def alpha(self) -> np.ndarray:
        """The present variances, a NumPy array."""
        alpha = np.exp(ops.convert_to_numpy(self.log_alpha))
        return np.round(alpha.astype("float64"), 6)

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        self._features = input_shape[-1]
        self.log_alpha = self.add_weight(
            shape=(self._features,) if self.per == "feature" else (),
            dtype="float32",
            autocast=False,
            initializer=keras.initializers.Constant(np.log(self.initial_alpha)),
            constraint=Between(_LOWEST, 0.0),
            name="log_alpha",
        )

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        divergence = ops.sum(gaussian_divergence(self.log_alpha))
        if self.per == "layer":
            # Each feature has the divergence of the one `alpha`.
            divergence *= self._features
        self.add_loss(self.kl_weight.value * divergence)
        return super().call(inputs, training)

    def noisy(self, inputs: Tensor) -> Tensor:
        noise = keras.random.normal(
            ops.shape(inputs), dtype="float32", seed=self.seed_generator
        )
        deviation = ops.exp(0.5 * ops.convert_to_tensor(self.log_alpha))
        return inputs * ops.cast(1.0 + deviation * noise, inputs.dtype)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "initial_alpha": self.initial_alpha,
            "per": self.per,
        }


def gaussian_divergence(log_alpha: Tensor) -> Tensor:
    """Divergence from the log-uniform prior, up to a constant: 0 at `alpha` 1."""
    log_alpha = ops.convert_to_tensor(log_alpha)
    alpha = ops.exp(log_alpha)
    a, b, c = _COEFFICIENTS
    polynomial = alpha * (a + alpha * (b + alpha * c))
    return sum(_COEFFICIENTS) - 0.5 * log_alpha - polynomial
