"""Penalties that make the units of a layer orthonormal."""

import math

import keras
import numpy as np
from keras import ops

from keras_ext._core._checks import choice, integer, require
from keras_ext._core._typing import Config, Tensor
from keras_ext.regularizers._group_lasso import safe_root
from keras_ext.regularizers._live_regularizer import LiveRegularizer

KINDS = ("srip", "so", "dso", "mc")


@keras.saving.register_keras_serializable(package="keras_ext")
class OrthogonalityPenalty(LiveRegularizer):
    """Penalizes how far the weights of units are from orthonormal.

    For convolutional and deep networks, to keep gradients at their size and units
    apart. A kernel is taken as a matrix `W` of inputs by units, convolutions with all
    that a filter sees as inputs. `D` is `W'W - I`, or `WW' - I` if there are more units
    than inputs, and the penalty is `strength` times

    - `"srip"`: the largest absolute eigenvalue of `D`, by power iteration (spectral
      restricted isometry). The best in the paper.
    - `"so"`: the sum of squares of `D` (soft orthogonality).
    - `"dso"`: the sums of squares of both `W'W - I` and `WW' - I`; but for a constant,
      that is twice `"so"`.
    - `"mc"`: the largest absolute element of `D` (mutual coherence).

    The strength is live: the paper lowers it in steps, to 0 towards the end.
    `keras.regularizers.OrthogonalRegularizer` penalizes angles only, of matrices only.

    Args:
        strength: Number >= 0, the initial strength. Defaults to `0.01`.
        rule: One of the names above. Defaults to `"srip"`.
        iterations: Integer >= 1, the number of power iterations of `"srip"`.
            Defaults to `2`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> regularizer = kx.regularizers.OrthogonalityPenalty(1.0, rule="so")
        >>> float(regularizer(keras.ops.eye(3)))
        0.0
        >>> float(regularizer(2 * keras.ops.eye(3)))
        27.0

    References:
        - [Bansal, Chen and Wang, 2018](https://arxiv.org/abs/1810.09102)
    """

    def __init__(
        self, strength: float = 0.01, *, rule: str = "srip", iterations: int = 2
    ) -> None:
        self.strength = self.live("strength", strength)
        self.rule = choice(rule, "rule", KINDS)
        self.iterations = integer(iterations, "iterations", low=1)

    def __call__(self, x: Tensor) -> Tensor:
        require(len(x.shape) > 1, "x", x, "a weight with two axes or more")
        inputs, units = math.prod(x.shape[:-1]), x.shape[-1]
        matrix = ops.reshape(ops.cast(x, "float32"), (inputs, units))
        # Of the two products the smaller: the other one has only more zeros.
        if inputs < units:
            matrix = ops.transpose(matrix)
        product = ops.matmul(ops.transpose(matrix), matrix)
        difference = product - ops.eye(product.shape[0], dtype="float32")
        return self.strength.value * self._penalty(difference, abs(inputs - units))

    def _penalty(self, difference: Tensor, surplus: int) -> Tensor:
        if self.rule == "srip":
            return self._largest_eigenvalue(difference)
        if self.rule == "mc":
            return ops.max(ops.absolute(difference))
        squares = ops.sum(ops.square(difference))
        # The larger product has the same squares, and a 1 for each surplus row.
        return squares if self.rule == "so" else 2.0 * squares + surplus

    def _largest_eigenvalue(self, matrix: Tensor) -> Tensor:
        # Always from the same vector, so that replicas and repetitions agree.
        start = np.random.default_rng(0).normal(size=(matrix.shape[0], 1))
        vector = ops.convert_to_tensor(start / np.linalg.norm(start), dtype="float32")
        size = ops.zeros(())
        for _ in range(self.iterations):
            vector = ops.matmul(matrix, vector)
            size = safe_root(ops.sum(ops.square(vector)))
            # The zero matrix has no direction.
            vector = vector / ops.where(size > 0, size, ops.ones_like(size))
        return size

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "rule": self.rule,
            "iterations": self.iterations,
        }
