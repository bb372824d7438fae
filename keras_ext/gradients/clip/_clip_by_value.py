"""Clipping the elements of gradients."""

from collections.abc import Sequence

import keras
from keras import ops

from keras_ext._core._typing import Config, Pattern, Tensor, Variable
from keras_ext._engine._gradient_transform import GradientTransform
from keras_ext._keras._sparse_gradient import in_rows
from keras_ext._live._hyper_variable import live_factor


@keras.saving.register_keras_serializable(package="keras_ext")
class ClipByValue(GradientTransform):
    """Cuts every element of a gradient off at a largest magnitude.

    It is the `clipvalue` of Keras optimizers for the gradient of the whole batch. It
    turns the gradient away from its direction, towards the small elements; prefer a
    clipping of norms unless single elements are known to be at fault.

    Args:
        max_value: Number >= 0, the largest magnitude of an element. A `HyperVariable`
            that may change while training.
        include: Which variables are clipped: a regular expression that is searched
            in `variable.path`, a list of them, or a function. None means all.
        exclude: Which are not, in the same form. None means none.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.SGD(1.0), [kx.gradients.ClipByValue(0.5)]
        ... )
        >>> kernel = keras.Variable([1.0, 1.0], name="kernel")
        >>> optimizer.apply([keras.ops.array([0.2, -7.0])], [kernel])
        >>> print(kernel.numpy().round(2))
        [0.8 1.5]
    """

    def __init__(
        self,
        max_value: float,
        *,
        include: Pattern = None,
        exclude: Pattern = None,
    ) -> None:
        super().__init__(include=include, exclude=exclude)
        self.max_value = live_factor(max_value, "max_value")

    @property
    def takes_sparse(self) -> bool:
        return True

    def transform(
        self, gradients: Sequence[Tensor], variables: Sequence[Variable]
    ) -> Sequence[Tensor]:
        return [in_rows(self._clipped, g) for g in gradients]

    def _clipped(self, gradient: Tensor) -> Tensor:
        limit = ops.cast(self.max_value.value, gradient.dtype)
        return ops.maximum(ops.minimum(gradient, limit), -limit)

    def get_config(self) -> Config:
        return {"max_value": float(self.max_value), **super().get_config()}
