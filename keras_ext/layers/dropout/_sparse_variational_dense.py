"""A dense layer that learns which of its weights to do without."""

from typing import Any

import keras
from keras import ops

from keras_ext._core._checks import flag, integer, number
from keras_ext._core._typing import Config, Function, Shape, Tensor
from keras_ext._live._hyper_variable import live_factor
from keras_ext.layers.dropout._noise_layer import NoiseLayer

# The fit of Molchanov et al. to the divergence, for every alpha.
_K1, _K2, _K3 = 0.63576, 1.87320, 1.48695
# Where a weight or a variance is 0.
_TINY = 1e-8
_LARGEST_LOG_ALPHA = 10.0


@keras.saving.register_keras_serializable(package="keras_ext")
class SparseVariationalDense(NoiseLayer):
    """A `Dense` layer that trains a noise for each weight, to find those it can drop.

    Every weight is normal, with a mean, `kernel`, and a variance of its own. The loss
    gets the divergence from a log-uniform prior, which falls as the noise of a weight
    grows against its mean: weights that the data does not need drown in noise. With
    `alpha` for the variance over the squared mean, inference leaves out weights with
    `log(alpha)` above `threshold`, and `prune()` removes them for good. Training costs
    a second matrix product; inference is that of `Dense`.

    Masking: the mask is passed on unchanged.

    Args:
        units: Integer >= 1, the number of outputs.
        kl_weight: Number >= 0, the factor of the divergence in the loss; it is live.
            One over the number of training examples is right for a loss that is a mean
            log-likelihood. Raise it from 0 over the first 5 to 10 epochs, with
            `keras_ext.callbacks.HyperparameterScheduler`, or too many weights are lost
            before they have formed.
        activation: Activation, as in `keras.layers.Dense`. None means none.
        use_bias: Whether there is a bias; it has no noise. Defaults to `True`.
        threshold: Number, the `log(alpha)` above which a weight is left out; 3 means a
            noise of 4.5 times the weight. Defaults to `3.0`.
        initial_log_variance: Number, the logarithm of the variances to begin with.
            Defaults to `-10.0`.
        kernel_initializer: Initializer of the means. Defaults to `"glorot_uniform"`.
        seed: Integer seed of the noise. None means random.
        **kwargs: `name`, `dtype` and `trainable`, as in `keras.layers.Layer`.

    Call arguments:
        inputs: Floating-point tensor.
        training: Whether the weights are noisy. Defaults to `False`.

    Output shape:
        That of the inputs, with `units` as the last axis.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> layer = kx.layers.SparseVariationalDense(3, kl_weight=1 / 1000)
        >>> model = keras.Sequential([keras.Input((4,)), layer])
        >>> layer.prune()  # not trained: all are needed
        0.0

    References:
        - [Molchanov, Ashukha and Vetrov, 2017](https://arxiv.org/abs/1701.05369)
        - [Kingma, Salimans and Welling, 2015](https://arxiv.org/abs/1506.02557), noise
          drawn for outputs instead of weights
    """

    def __init__(
        self,
        units: int,
        kl_weight: float,
        *,
        activation: str | Config | Function | None = None,
        use_bias: bool = True,
        threshold: float = 3.0,
        initial_log_variance: float = -10.0,
        kernel_initializer: str
        | Config
        | keras.initializers.Initializer = "glorot_uniform",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, **kwargs)
        self.units = integer(units, "units", low=1)
        self.kl_weight = live_factor(kl_weight, "kl_weight")
        self.activation = keras.activations.get(activation)
        self.use_bias = flag(use_bias, "use_bias")
        self.threshold = number(threshold, "threshold")
        self.initial_log_variance = number(initial_log_variance, "initial_log_variance")
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        shape = (input_shape[-1], self.units)
        # In float16, small weights have no squares.
        self.kernel = self.add_weight(
            shape=shape,
            initializer=self.kernel_initializer,
            autocast=False,
            name="kernel",
        )
        self.log_variance = self.add_weight(
            shape=shape,
            initializer=keras.initializers.Constant(self.initial_log_variance),
            autocast=False,
            name="log_variance",
        )
        self.kept = self.add_weight(
            shape=shape,
            initializer="ones",
            trainable=False,
            autocast=False,
            name="kept",
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                shape=(self.units,), initializer="zeros", name="bias"
            )

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        divergence = ops.sum(self.kept * sparse_divergence(self._log_alpha()))
        self.add_loss(self.kl_weight.value * ops.cast(divergence, "float32"))
        if training:
            outputs = self.noisy(inputs)
        else:
            kernel = self.kernel * self._needed()
            outputs = ops.matmul(inputs, ops.cast(kernel, inputs.dtype))
        if self.bias is not None:
            outputs += ops.cast(self.bias, outputs.dtype)
        return self.activation(outputs)

    def noisy(self, inputs: Tensor) -> Tensor:
        precise = ops.cast(inputs, "float32")
        mean = ops.matmul(precise, ops.cast(self.kernel * self.kept, "float32"))
        variance = ops.cast(ops.exp(self.log_variance) * self.kept, "float32")
        variance = ops.matmul(ops.square(precise), variance)
        noise = keras.random.normal(
            ops.shape(mean), dtype="float32", seed=self.seed_generator
        )
        # The root has no derivative at 0.
        outputs = mean + ops.sqrt(variance + _TINY) * noise
        return ops.cast(outputs, inputs.dtype)

    def _log_alpha(self) -> Tensor:
        squares = ops.square(ops.cast(self.kernel, "float32"))
        log_alpha = ops.cast(self.log_variance, "float32") - ops.log(squares + _TINY)
        return ops.clip(log_alpha, -_LARGEST_LOG_ALPHA, _LARGEST_LOG_ALPHA)

    def _needed(self) -> Tensor:
        needed = ops.cast(self._log_alpha() < self.threshold, self.kept.dtype)
        return needed * self.kept

    @property
    def sparsity(self) -> float:
        """The share of the weights that inference leaves out."""
        return 1.0 - float(ops.mean(ops.cast(self._needed(), "float32")))

    def prune(self) -> float:
        """Removes the weights that inference leaves out: they stay 0, and noiseless.

        Training may go on with the rest.

        Returns:
            The share of the weights that are removed by now.
        """
        needed = self._needed()
        self.kept.assign(needed)
        self.kernel.assign(self.kernel * needed)
        return self.sparsity

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "threshold": self.threshold,
            "initial_log_variance": self.initial_log_variance,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


def sparse_divergence(log_alpha: Tensor) -> Tensor:
    """Divergence of a weight from the log-uniform prior: 0 at infinite `alpha`."""
    gain = _K1 * ops.sigmoid(_K2 + _K3 * log_alpha)
    return _K1 - gain + 0.5 * ops.softplus(-log_alpha)
