"""The base of the transforms that limit norms."""

from collections.abc import Mapping, Sequence

from keras import ops

from keras_ext._anatomy._groups import KINDS, Groups
from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._checks import choice
from keras_ext._core._typing import Config, Pattern, Tensor, Variable
from keras_ext._engine._gradient_transform import Clipping, GradientTransform


class ClipByGroupNorm(GradientTransform):
    """Scales down gradients whose norm is above a limit.

    A subclass overrides `limits`, which computes the largest norms allowed from the
    present norms. Every group of weights with a norm above its limit is multiplied by
    `limit / norm`; its direction is kept. Norms are taken in float32.

    Args:
        per: What has a norm: `"unit"`, each output unit of a weight (see
            `keras_ext.optimizers.unit_axes`); `"tensor"`, each weight; `"layer"`, the
            weights whose paths differ in the last part only, as kernel and bias;
            `"global"`, all chosen weights together. Defaults to `"tensor"`.
        include: Which variables are clipped: a regular expression that is searched
            in `variable.path`, a list of them, or a function. None means all.
        exclude: Which are not, in the same form. None means none.

    Raises:
        ValueError: If an argument is not of this form.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> @keras.saving.register_keras_serializable("my_package")
        ... class AtMostOne(kx.gradients.ClipByGroupNorm):
        ...     def limits(self, norms, variables):
        ...         return keras.ops.ones_like(norms)
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.SGD(1.0), [AtMostOne()]
        ... )
        >>> kernel = keras.Variable([9.0, 9.0], name="kernel")
        >>> optimizer.apply([keras.ops.array([30.0, 40.0])], [kernel])
        >>> print(kernel.numpy().round(2))
        [8.4 8.2]
    """

    # What a norm is at least when a limit is divided by it.
    smallest_norm = 1e-30

    def __init__(
        self, per: str = "tensor", *, include: Pattern = None, exclude: Pattern = None
    ) -> None:
        super().__init__(include=include, exclude=exclude)
        self.per = choice(per, "per", KINDS)

    def build(
        self, variables: Sequence[Variable], unit_axes: Mapping[str, Axes]
    ) -> None:
        super().build(variables, unit_axes)
        chosen = self.chosen(variables)
        self.groups = Groups(chosen, self.per, self.axes)
        self.build_state(len(self.groups))

    @property
    def takes_sparse(self) -> bool:
        # A row of an embedding is a unit, and all of them have a norm.
        return self.per != "unit"

    def build_state(self, num_groups: int) -> None:
        """Creates what `limits` remembers, with `add_state`."""

    def transform(
        self, gradients: Sequence[Tensor], variables: Sequence[Variable]
    ) -> Sequence[Tensor]:
        return self.transform_and_tell(gradients, variables)[0]

    def transform_and_tell(
        self, gradients: Sequence[Tensor], variables: Sequence[Variable]
    ) -> tuple[Sequence[Tensor], Clipping | None]:
        if not variables:
            return [], None
        norms = self.groups.norms(gradients, variables)
        limits = self.limits(norms, variables)
        factors = ops.minimum(1.0, limits / ops.maximum(norms, self.smallest_norm))
        scaled = self.groups.scaled(gradients, variables, factors)
        return scaled, Clipping(norms, limits, self.groups.names, self.per)

    def limits(self, norms: Tensor, variables: Sequence[Variable]) -> Tensor:
        """Returns the largest norms allowed, in float32; infinity for no limit.

        Args:
            norms: The norms of the groups, a vector in float32.
            variables: The weights, before the update.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must override limits(norms, variables)."
        )

    def get_config(self) -> Config:
        return {"per": self.per, **super().get_config()}
