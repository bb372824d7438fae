"""Clipping to a fixed norm."""

from collections.abc import Sequence

import keras
from keras import ops

from keras_ext._core._typing import Config, Pattern, Tensor, Variable
from keras_ext._engine._clip_by_group_norm import ClipByGroupNorm
from keras_ext._live._hyper_variable import live_factor


@keras.saving.register_keras_serializable(package="keras_ext")
class ClipByNorm(ClipByGroupNorm):
    """Scales every gradient down to a fixed norm if it is longer.

    It is the `clipnorm` of Keras optimizers for the gradient of the whole batch: Keras
    clips on each replica before the sum, and the result then depends on their number.
    Use it when the right length is known; `AutoClip`, `AdaGC` and `ZClip` find one.

    Args:
        max_norm: Number >= 0, the largest norm. A `HyperVariable` that may change while
            training. Defaults to `1.0`.
        per: What has a norm: `"unit"`, `"tensor"`, `"layer"` or `"global"`, as in
            `ClipByGroupNorm`. Defaults to `"tensor"`.
        include: Which variables are clipped: a regular expression that is searched
            in `variable.path`, a list of them, or a function. None means all.
        exclude: Which are not, in the same form. None means none.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.SGD(1.0), [kx.gradients.ClipByNorm(max_norm=5.0)]
        ... )
        >>> kernel = keras.Variable([9.0, 9.0], name="kernel")
        >>> optimizer.apply([keras.ops.array([30.0, 40.0])], [kernel])
        >>> print(kernel.numpy().round(2))  # moved by 3 and 4
        [6. 5.]

    References:
        - [Pascanu et al., 2013](https://arxiv.org/abs/1211.5063)
    """

    def __init__(
        self,
        max_norm: float = 1.0,
        *,
        per: str = "tensor",
        include: Pattern = None,
        exclude: Pattern = None,
    ) -> None:
        super().__init__(per=per, include=include, exclude=exclude)
        self.max_norm = live_factor(max_norm, "max_norm")

    def limits(self, norms: Tensor, variables: Sequence[Variable]) -> Tensor:
        return self.max_norm.value * ops.ones_like(norms)

    def get_config(self) -> Config:
        return {"max_norm": float(self.max_norm), **super().get_config()}
