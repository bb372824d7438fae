"""Clipping all gradients together."""

import keras

from keras_ext._core._typing import Config, Pattern
from keras_ext.gradients.clip._clip_by_norm import ClipByNorm


@keras.saving.register_keras_serializable(package="keras_ext")
class ClipByGlobalNorm(ClipByNorm):
    """Scales all gradients down together if their joint norm is too large.

    Unlike clipping each gradient separately, this keeps the direction of the whole
    update. It is the `global_clipnorm` of Keras optimizers for the gradient of the
    whole batch, the usual choice for recurrent networks and transformers. The norm is
    that of the chosen variables only.

    Args:
        max_norm: Number >= 0, the largest joint norm. A `HyperVariable` that may change
            while training. Defaults to `1.0`.
        include: Which variables are clipped: a regular expression that is searched
            in `variable.path`, a list of them, or a function. None means all.
        exclude: Which are not, in the same form. None means none.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.SGD(1.0), [kx.gradients.ClipByGlobalNorm(5.0)]
        ... )
        >>> kernel = keras.Variable([9.0], name="kernel")
        >>> bias = keras.Variable([9.0], name="bias")
        >>> gradients = [keras.ops.array([30.0]), keras.ops.array([40.0])]
        >>> optimizer.apply(gradients, [kernel, bias])
        >>> print(kernel.numpy().round(2), bias.numpy().round(2))  # by 3 and 4
        [6.] [5.]

    References:
        - [Pascanu et al., 2013](https://arxiv.org/abs/1211.5063)
    """

    def __init__(
        self,
        max_norm: float = 1.0,
        *,
        include: Pattern = None,
        exclude: Pattern = None,
    ) -> None:
        super().__init__(max_norm, per="global", include=include, exclude=exclude)

    def get_config(self) -> Config:
        config = super().get_config()
        del config["per"]
        return config
