"""Gradients with mean 0 and standard deviation 1."""

import math
from collections.abc import Sequence

import keras
from keras import ops

from keras_ext._core._checks import number
from keras_ext._core._typing import Config, Pattern, Tensor, Variable
from keras_ext._engine._gradient_transform import GradientTransform
from keras_ext._live._hyper_variable import HyperVariable

# Relative to the largest number.
_ROUNDING = 1e-6


@keras.saving.register_keras_serializable(package="keras_ext")
class Standardize(GradientTransform):
    """Gives the gradient of every weight mean 0 and standard deviation 1 (ZNorm).

    The gradient `g` of a tensor becomes `(g - mean(g)) / (std(g) + epsilon)`, with the
    mean and the standard deviation over the whole tensor. All layers then get gradients
    of one size, also where the gradient vanishes; the learning rate alone says how
    large a step is, and has to fall for the training to settle. With Adam, which does
    much the same, only the subtraction of the mean has an effect.

    A gradient of zero stays zero, and so does one whose numbers are all equal. A weight
    of one number is left alone: its gradient would always become zero.

    Args:
        epsilon: Number > 0 that is added to the standard deviation: gradients far
            smaller than it stay small. A `HyperVariable` that may change while
            training. Defaults to `1e-10`.
        include: Which variables are transformed: a regular expression that is
            searched in `variable.path`, a list of them, or a function. None means all.
        exclude: Which are not, in the same form. None means none.

    Raises:
        ValueError: If an argument is not of this form.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.SGD(1.0), [kx.gradients.Standardize()]
        ... )
        >>> kernel = keras.Variable([0.0, 0.0], name="kernel")
        >>> optimizer.apply([keras.ops.array([1e-4, 3e-4])], [kernel])
        >>> print(kernel.numpy().round(3))
        [ 1. -1.]

    References:
        - [Yun, 2024](https://arxiv.org/abs/2408.01215)
    """

    def __init__(
        self,
        epsilon: float = 1e-10,
        *,
        include: Pattern = None,
        exclude: Pattern = None,
    ) -> None:
        super().__init__(include=include, exclude=exclude)
        self.epsilon = HyperVariable(
            number(epsilon, "epsilon", above=0),
            "epsilon",
            bounds=(1e-30, None),
            scale="log",
        )

    def transform(
        self, gradients: Sequence[Tensor], variables: Sequence[Variable]
    ) -> Sequence[Tensor]:
        return [
            # A single number has no deviation: nothing would be left.
            g if math.prod(v.shape) == 1 else self._standardized(g)
            for g, v in zip(gradients, variables, strict=True)
        ]

    def _standardized(self, gradient: Tensor) -> Tensor:
        precise = ops.cast(gradient, "float32")
        centered = precise - ops.mean(precise)
        deviation = ops.sqrt(ops.mean(ops.square(centered)))
        # Numbers that are equal differ from their mean by its rounding.
        rounding = _ROUNDING * ops.max(ops.abs(precise))
        centered = ops.where(deviation > rounding, centered, 0.0)
        standardized = centered / (deviation + self.epsilon.value)
        return ops.cast(standardized, gradient.dtype)

    def get_config(self) -> Config:
        return {"epsilon": float(self.epsilon), **super().get_config()}
