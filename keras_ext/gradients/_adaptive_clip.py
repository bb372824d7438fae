"""Adaptive gradient clipping."""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import keras
from keras import ops

from keras_ext.core._checks import is_number, require
from keras_ext.core._hyper_variable import HyperVariable
from keras_ext.core._replica import squared_norms
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
        row = ops.minimum(1.0, limits / ops.maximum(slopes, _SMALLEST_NORM))
        factors = self._by_variable(row, variables)
        return [
            # In float32, since a small factor would vanish in float16.
            ops.cast(ops.cast(g, "float32") * factors[id(v)], g.dtype)
            for g, v in zip(gradients, variables, strict=True)
        ]

    def _unit_norms(
        self, tensors: Sequence[Tensor], variables: Sequence[Variable]
    ) -> Tensor:
        """The norms of the units of all weights, in a row, in float32."""
        tensor_of = {id(v): x for x, v in zip(tensors, variables, strict=True)}
        single, many = self._sorted(variables)
        rows = [squared_norms([tensor_of[id(v)] for v in single])]
        for v in many:
            squares = ops.square(ops.cast(tensor_of[id(v)], "float32"))
            sums = ops.sum(squares, axis=self.axes(v))
            rows.append(sums if len(sums.shape) == 1 else ops.reshape(sums, (-1,)))
        return ops.sqrt(ops.concatenate(rows))

    def _sorted(
        self, variables: Sequence[Variable]
    ) -> tuple[list[Variable], list[Variable]]:
        """The weights that are one unit, and those of many: the order in the row."""
        single = [v for v in variables if len(self.axes(v)) == len(v.shape)]
        many = [v for v in variables if len(self.axes(v)) < len(v.shape)]
        return single, many

    def _by_variable(
        self, row: Tensor, variables: Sequence[Variable]
    ) -> dict[int, Tensor]:
        """Cuts a row of one number per unit into one tensor for each weight."""
        single, many = self._sorted(variables)
        shapes = [self._factor_shape(v) for v in many]
        sizes = [1] * len(single) + [math.prod(shape) for shape in shapes]
        ends = list(accumulate(sizes))
        pieces = ops.split(row, ends[:-1]) if len(ends) > 1 else [row]
        factors: dict[int, Tensor] = {}
        for v, piece in zip(single, pieces[: len(single)], strict=True):
            factors[id(v)] = piece if len(v.shape) else ops.reshape(piece, ())
        for v, shape, piece in zip(many, shapes, pieces[len(single) :], strict=True):
            # The last axis is where a row of numbers goes by itself.
            at_the_end = shape[-1] == math.prod(shape)
            factors[id(v)] = piece if at_the_end else ops.reshape(piece, shape)
        return factors

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
