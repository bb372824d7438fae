"""The parts of a pipeline that change weights after an update."""

from collections.abc import Sequence

import tensorflow as tf

from keras_ext._core._typing import Tensor, Variable
from keras_ext._engine._pipeline_part import PipelinePart
from keras_ext._keras import _replica


class AfterUpdate(PipelinePart):
    """Changes weights once the optimizer has moved them: masks, projections, proximal
    steps.

    To write one, override `new_values`. It sees the weights after `UpdateScale`s, on
    every replica alike, and is not called for an update that is left out.

    Args:
        include: Which variables are changed: a regular expression that is searched in
            `variable.path`, a list of them, or a function from variable to bool. None
            means all.
        exclude: Which are not, in the same form. None means none.

    Raises:
        ValueError: If `include` or `exclude` is neither of these.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> @keras.saving.register_keras_serializable("my_package")
        ... class NonNegative(kx.gradients.AfterUpdate):
        ...     def new_values(self, variables, learning_rate):
        ...         return [keras.ops.relu(v.value) for v in variables]
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.SGD(1.0), [NonNegative()]
        ... )
        >>> kernel = keras.Variable([1.0, 1.0], name="kernel")
        >>> optimizer.apply([keras.ops.array([0.5, 3.0])], [kernel])
        >>> print(kernel.numpy())
        [0.5 0. ]
    """

    def new_values(
        self, variables: Sequence[Variable], learning_rate: Tensor
    ) -> Sequence[Tensor]:
        """Returns the new values of the chosen variables, in the same order.

        Args:
            variables: The chosen weights, after the update.
            learning_rate: The learning rate of the update.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must override new_values(...)."
        )

    def change(self, variables: Sequence[Variable], learning_rate: Tensor) -> None:
        """Gives the chosen ones among all variables their new values, on a replica."""
        chosen = self.chosen(variables)
        if chosen:
            values = self.new_values(chosen, learning_rate)
            pairs = zip(values, chosen, strict=True)
            _replica.assign(chosen, [tf.cast(x, v.dtype) for x, v in pairs])
