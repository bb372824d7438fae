"""Gradient centralization."""

import math
from collections.abc import Sequence

import keras
from keras import ops

from keras_ext._core._typing import Tensor, Variable
from keras_ext._engine._gradient_transform import GradientTransform


@keras.saving.register_keras_serializable(package="keras_ext")
class Centralize(GradientTransform):
    """Subtracts from the gradient of every unit its mean (gradient centralization).

    A unit is one output of a layer, see `keras_ext.optimizers.unit_axes`: for a `Dense`
    kernel the mean over its inputs is taken off, for a convolution the mean over
    height, width and inputs. So the mean of the weights of a unit stays what it was,
    with SGD exactly. Published as a regularizer for convolutional networks with
    normalization layers; it costs one pass over the gradient and has nothing to tune.

    Weights that are one unit in all, such as biases and scales, are left alone, and
    so are kernels with one weight per unit, whose gradients would become zero.

    Args:
        include: Which variables are transformed: a regular expression that is
            searched in `variable.path`, a list of them, or a function. None means all.
        exclude: Which are not, in the same form. None means none.

    Raises:
        ValueError: If `include` or `exclude` is neither of these.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.SGD(1.0), [kx.gradients.Centralize()]
        ... )
        >>> kernel = keras.Variable([[0.0, 0.0], [0.0, 0.0]], name="kernel")
        >>> optimizer.apply([keras.ops.array([[1.0, 5.0], [3.0, 5.0]])], [kernel])
        >>> print(kernel.numpy())
        [[ 1.  0.]
         [-1.  0.]]

    References:
        - [Yong et al., 2020](https://arxiv.org/abs/2004.01461)
    """

    def transform(
        self, gradients: Sequence[Tensor], variables: Sequence[Variable]
    ) -> Sequence[Tensor]:
        return [
            self._centralized(gradient, variable)
            for gradient, variable in zip(gradients, variables, strict=True)
        ]

    def _centralized(self, gradient: Tensor, variable: Variable) -> Tensor:
        axes = self.axes(variable)
        is_one_unit = len(axes) == len(variable.shape)
        # The mean of a single number is itself: nothing would be left.
        if is_one_unit or math.prod(variable.shape[i] for i in axes) == 1:
            return gradient
        precise = ops.cast(gradient, "float32")
        centered = precise - ops.mean(precise, axis=axes, keepdims=True)
        return ops.cast(centered, gradient.dtype)
