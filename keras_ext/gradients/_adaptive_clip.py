"""Adaptive gradient clipping."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_ext.core._checks import is_number, require
from keras_ext.core._hyper_variable import HyperVariable
from keras_ext.core._typing import Pattern, Tensor, Variable
from keras_ext.gradients._gradient_transform import GradientTransform

# What the published implementations divide by at least.
_SMALLEST_NORM = 1e-6


@keras.saving.register_keras_serializable(package="keras_ext")
class AdaptiveClip(GradientTransform):
    """Clips the gradient of every unit relative to the norm of its weights (AGC).

    For a unit with weights `w` and gradient `g`, the gradient is multiplied by
    `min(1, clipping * max(|w|, epsilon) / |g|)`. A unit is one output of a layer,
    see `keras_ext.core.unit_axes`; norms are taken in float32. So no single update
    of SGD with learning rate 1 can move a unit by more than the fraction `clipping`
    of its length. Use it to train at large learning rates or batch sizes, above all
    without normalization layers; with Adam, whose steps hardly depend on the length
    of the gradient, it does little.

    The authors do not clip the last layer, the classifier: pass its path to
    `exclude`. Weights that start at zero only move by `clipping * epsilon` per step
    at first; exclude them or raise `epsilon`.

    Args:
        clipping: Number >= 0, the largest ratio of gradient norm to weight norm. A
            `HyperVariable` that may change while training. Defaults to `0.01`.
        epsilon: Number > 0, the smallest weight norm that counts.
            Defaults to `0.001`.
        include: Which variables are clipped: a regular expression that is searched
            in `variable.path`, a list of them, or a function. None means all.
        exclude: Which are not, in the same form. None means none.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.SGD(1.0), [kx.gradients.AdaptiveClip(clipping=0.1)]
        ... )
        >>> kernel = keras.Variable([[3.0], [4.0]], name="kernel")  # norm 5
        >>> optimizer.apply([keras.ops.array([[60.0], [80.0]])], [kernel])
        >>> print(kernel.numpy().round(2).T)  # moved by 0.1 * 5
        [[2.7 3.6]]

    References:
        - [Brock et al., 2021](https://arxiv.org/abs/2102.06171)
    """

    def __init__(
        self,
        clipping: float = 0.01,
        epsilon: float = 1e-3,
        include: Pattern = None,
        exclude: Pattern = None,
    ) -> None:
        super().__init__(include=include, exclude=exclude)
        require(
            is_number(clipping) and clipping >= 0,
            "clipping",
            clipping,
            "a number >= 0",
        )
        require(is_number(epsilon) and epsilon > 0, "epsilon", epsilon, "a number > 0")
        self.clipping = HyperVariable(
            clipping, "clipping", bounds=(0.0, None), scale="log"
        )
        self.epsilon = epsilon

    def transform(
        self, gradients: Sequence[Tensor], variables: Sequence[Variable]
    ) -> Sequence[Tensor]:
        if not variables:
            return []
        # The units of all weights in one row: some operations instead of some for
        # each weight, which is what a small model would spend its time on.
        lengths = self._unit_norms([v.value for v in variables], variables)
        slopes = self._unit_norms(gradients, variables)
        limits = self.clipping.value * ops.maximum(lengths, self.epsilon)
        factors = ops.minimum(1.0, limits / ops.maximum(slopes, _SMALLEST_NORM))
        clipped, start = [], 0
        for gradient, variable in zip(gradients, variables, strict=True):
            shape = self._factor_shape(variable)
            end = start + math.prod(shape)
            factor = ops.reshape(factors[start:end], shape)
            # In float32, since a small factor would vanish in float16.
            product = ops.cast(gradient, "float32") * factor
            clipped.append(ops.cast(product, gradient.dtype))
            start = end
        return clipped

    def _unit_norms(
        self, tensors: Sequence[Tensor], variables: Sequence[Variable]
    ) -> Tensor:
        """The norms of the units of all weights, in a row, in float32."""
        squares = [
            ops.sum(ops.square(ops.cast(x, "float32")), axis=self.axes(v))
            for x, v in zip(tensors, variables, strict=True)
        ]
        return ops.sqrt(ops.concatenate([ops.reshape(s, (-1,)) for s in squares]))

    def _factor_shape(self, variable: Variable) -> list[int]:
        """The shape of the weight with 1 for the axes within a unit."""
        axes = self.axes(variable)
        return [1 if i in axes else n for i, n in enumerate(variable.shape)]

    def get_config(self) -> dict[str, Any]:
        return {
            "clipping": float(self.clipping),
            "epsilon": self.epsilon,
            **super().get_config(),
        }
