"""The parts of a pipeline that change gradients."""

from collections.abc import Sequence
from typing import NamedTuple

from keras_ext._core._typing import Tensor, Variable
from keras_ext._engine._pipeline_part import PipelinePart


class Clipping(NamedTuple):
    """What a rule that limits norms did in one update.

    Attributes:
        norms: The norms of the groups, a vector in float32.
        limits: The largest that were allowed; infinity for no limit.
        names: The path of the weight (or of the layer, or `"global"`) of each group.
        per: What a group is: `"unit"`, `"tensor"`, `"layer"` or `"global"`.
    """

    norms: Tensor
    limits: Tensor
    names: Sequence[str]
    per: str


class GradientTransform(PipelinePart):
    """Changes gradients between the reduction over replicas and the optimizer.

    `GradientPipeline` hands a transform the gradient of the whole global batch:
    unscaled, accumulated, summed over the replicas and finite. It is called once per
    update and per device, inside the compiled step, so it may only use `keras.ops`
    and the variables that it made in `build`.

    To write one, override `transform`, and `build` if it needs state, which
    `add_state` makes. Hyperparameters that are `HyperVariable`s in attributes are
    found, built and saved by the pipeline.

    Args:
        include: Which variables are transformed: a regular expression that is
            searched in `variable.path`, a list of them, or a function from variable
            to bool. None means all.
        exclude: Which are not, in the same form. None means none.

    Raises:
        ValueError: If `include` or `exclude` is neither of these.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> @keras.saving.register_keras_serializable("my_package")
        ... class SignOnly(kx.gradients.GradientTransform):
        ...     def transform(self, gradients, variables):
        ...         return [keras.ops.sign(g) for g in gradients]
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.SGD(0.1), [SignOnly(exclude="bias")]
        ... )
        >>> kernel = keras.Variable([1.0, 1.0], name="kernel")
        >>> optimizer.apply([keras.ops.array([0.02, -7.0])], [kernel])
        >>> print(kernel.numpy().round(2))
        [0.9 1.1]
    """

    def transform(
        self, gradients: Sequence[Tensor], variables: Sequence[Variable]
    ) -> Sequence[Tensor]:
        """Returns the new gradients of the chosen variables, in the same order."""
        raise NotImplementedError(
            f"{type(self).__name__} must override transform(gradients, variables)."
        )

    def transform_and_tell(
        self, gradients: Sequence[Tensor], variables: Sequence[Variable]
    ) -> tuple[Sequence[Tensor], Clipping | None]:
        """As `transform`, with what signals may see of it; None unless it clips."""
        return self.transform(gradients, variables), None

    def transform_chosen(
        self, gradients: Sequence[Tensor], variables: Sequence[Variable]
    ) -> tuple[list[Tensor], Clipping | None]:
        """Transforms the chosen ones among all gradients; the others stay."""
        chosen = [i for i, variable in enumerate(variables) if self.chooses(variable)]
        result = list(gradients)
        transformed, clipping = self.transform_and_tell(
            [gradients[i] for i in chosen], [variables[i] for i in chosen]
        )
        for i, gradient in zip(chosen, transformed, strict=True):
            result[i] = gradient
        return result, clipping

    def __call__(
        self, gradients: Sequence[Tensor], variables: Sequence[Variable]
    ) -> list[Tensor]:
        """The gradients, with the chosen ones transformed."""
        return self.transform_chosen(gradients, variables)[0]
