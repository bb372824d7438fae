"""The proximal operator of the sum of singular values."""

import keras
from keras import ops

from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._checks import require
from keras_ext._core._typing import Tensor, Variable
from keras_ext._live._hyper_variable import live_factor
from keras_ext.optimizers.operators._operator import Operator, penalty


@keras.saving.register_keras_serializable(package="keras_ext")
class NuclearShrinkage(Operator):
    """Makes the singular values of a kernel smaller, and small ones zero.

    The operator of the penalty `strength * sum(singular_values)`, for kernels of low
    rank. A kernel with more than two axes counts as a matrix with its last axis for
    columns. A decomposition of each kernel is expensive: let
    `keras_ext.optimizers.Proximal` do it only at intervals, by `every`.

    Args:
        strength: Number >= 0, the initial strength; it is live. Defaults to `0.01`.

    Raises:
        ValueError: If `strength` is no such number; or, when the optimizer is built, if
            a weight has fewer than two axes.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> shrink = kx.optimizers.operators.NuclearShrinkage(1.0)
        >>> kernel = keras.ops.array([[3.0, 0.0], [0.0, 0.5]])
        >>> abs(shrink(kernel, 1.0, (0,)).numpy().round(4))
        array([[2., 0.],
               [0., 0.]], dtype=float32)

    References:
        - [Cai et al., 2010](https://arxiv.org/abs/0810.3286)
    """

    def __init__(self, strength: float = 0.01) -> None:
        self.strength = live_factor(strength, "strength")

    def check(self, variable: Variable) -> None:
        shape = tuple(variable.shape)
        rule = "of at least two axes for NuclearShrinkage; choose with `include`"
        require(len(shape) >= 2, variable.path, shape, rule)

    def __call__(self, weight: Tensor, step: Tensor, axes: Axes) -> Tensor:
        del axes
        matrix = ops.reshape(weight, (-1, weight.shape[-1]))
        left, values, right = ops.svd(matrix, full_matrices=False)
        values = ops.relu(values - penalty(step, self.strength, weight))
        shrunk = ops.matmul(left * values[None, :], right)
        return ops.reshape(shrunk, weight.shape)
