"""Clipping what the optimizer makes of a gradient."""

import keras
from keras import ops

from keras_ext._core._typing import Config, Pattern, Tensor, Variable
from keras_ext._engine._update_scale import UpdateScale
from keras_ext._live._hyper_variable import live_factor


@keras.saving.register_keras_serializable(package="keras_ext")
class ClipUpdateRMS(UpdateScale):
    """Limits the root mean square of the update of each weight.

    The gradient passes as it is; what the optimizer did to a weight is scaled down if
    its root mean square is more than `max_rms` times the learning rate. Adam's updates
    have one of about 1 or less, except when gradients grow suddenly and its average of
    their squares lags behind. That is when this acts, and clipping of gradients hardly
    does. It is the update clipping of Adafactor, and what makes AdamW into StableAdamW.

    The update is all that happened to the weight, its decay included. With plain SGD
    it is a clipping of gradients.

    Args:
        max_rms: Number >= 0, the largest root mean square of an update divided by the
            learning rate. A `HyperVariable` that may change while training.
            Defaults to `1.0`.
        include: The updates of which variables are clipped: a regular expression that
            is searched in `variable.path`, a list of them, or a function. None means
            all.
        exclude: Which are not, in the same form. None means none.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.SGD(0.1), [kx.gradients.ClipUpdateRMS(2.0)]
        ... )
        >>> kernel = keras.Variable([1.0, 1.0], name="kernel")
        >>> optimizer.apply([keras.ops.array([50.0, 50.0])], [kernel])
        >>> print(kernel.numpy().round(2))  # moved by 0.1 * 2
        [0.8 0.8]

    References:
        - [Shazeer & Stern, 2018](https://arxiv.org/abs/1804.04235)
        - [Wortsman et al., 2023](https://arxiv.org/abs/2304.13013)
    """

    def __init__(
        self,
        max_rms: float = 1.0,
        *,
        include: Pattern = None,
        exclude: Pattern = None,
    ) -> None:
        super().__init__(include=include, exclude=exclude)
        self.max_rms = live_factor(max_rms, "max_rms")

    def factor(self, variable: Variable, move: Tensor, learning_rate: Tensor) -> Tensor:
        rms = ops.sqrt(ops.mean(ops.square(ops.cast(move, "float32"))))
        # The move has the learning rate in it.
        limit = self.max_rms.value * ops.cast(learning_rate, "float32")
        # What has not moved has a quotient without limit, and not a NaN.
        return ops.minimum(1.0, limit / ops.maximum(rms, 1e-30))

    def get_config(self) -> Config:
        return {"max_rms": float(self.max_rms), **super().get_config()}
