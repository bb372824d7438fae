"""The parts of a pipeline that leave updates out."""

from collections.abc import Sequence

from keras_ext._core._typing import Tensor, Variable
from keras_ext._engine._pipeline_part import PipelinePart


class UpdateGate(PipelinePart):
    """Decides whether an update is made at all.

    To write one, override `admits`. A skipped update changes neither the weights nor
    the optimizer; with the callbacks of this library it does not change the statistics
    of layers and metrics either.

    Args:
        include: Which variables are looked at: a regular expression that is searched
            in `variable.path`, a list of them, or a function from variable to bool.
            None means all.
        exclude: Which are not, in the same form. None means none.

    Raises:
        ValueError: If `include` or `exclude` is neither of these.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> @keras.saving.register_keras_serializable("my_package")
        ... class NoLargeOnes(kx.gradients.UpdateGate):
        ...     def admits(self, squared_norms, variables, finite):
        ...         return keras.ops.sum(squared_norms) < 100.0
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.SGD(1.0), [NoLargeOnes()]
        ... )
        >>> kernel = keras.Variable([0.0], name="kernel")
        >>> for gradient in (1.0, 50.0):
        ...     optimizer.apply([keras.ops.array([gradient])], [kernel])
        >>> print(kernel.numpy())
        [-1.]
    """

    def admits(
        self, squared_norms: Tensor, variables: Sequence[Variable], finite: Tensor
    ) -> Tensor:
        """Returns whether the update is to be made, a scalar of bool.

        Called once for all replicas, in cross-replica context, before the transforms.

        Args:
            squared_norms: The squared norms of the gradients of `variables`, a vector.
            variables: All weights that have a gradient.
            finite: Whether all the gradients are finite; the update is made only then.
        """
        raise NotImplementedError(f"{type(self).__name__} must override admits(...).")
