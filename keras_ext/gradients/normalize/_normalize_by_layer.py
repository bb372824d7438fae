"""Gradients of one length."""

from collections.abc import Mapping, Sequence

import keras
from keras import ops

from keras_ext._anatomy._groups import KINDS, Groups
from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._checks import choice, number
from keras_ext._core._typing import Config, Pattern, Tensor, Variable
from keras_ext._engine._gradient_transform import GradientTransform
from keras_ext._live._hyper_variable import HyperVariable

_SCALES = ("unit", "weight")


@keras.saving.register_keras_serializable(package="keras_ext")
class NormalizeByLayer(GradientTransform):
    """Gives every layer's gradient the same length (block-normalized gradient).

    The gradient `g` of a layer with weights `w` becomes `g / (|g| + epsilon)`, or, with
    `scale="weight"`, that times `max(|w|, min_weight_norm)`: then SGD moves every layer
    by the same fraction of its length, the learning rate, as in LARS. Only the
    direction of the gradient is left: layers with vanishing gradients learn as fast as
    the others. Published for deep networks, for SGD with momentum and for Adam. The
    steps do not shrink towards a minimum by themselves, so the learning rate has to.

    A gradient of zero stays zero.

    Args:
        scale: `"unit"` for gradients of length 1, `"weight"` for the length of the
            weights. Defaults to `"unit"`.
        per: What has a length: `"unit"`, `"tensor"`, `"layer"` or `"global"`, as in
            `ClipByGroupNorm`. Defaults to `"layer"`.
        epsilon: Number > 0 that is added to the length of the gradient: those far
            smaller than it stay small. A `HyperVariable` that may change while
            training. Defaults to `1e-12`.
        min_weight_norm: Number > 0, the smallest length of weights that counts, with
            `scale="weight"`: biases start at zero, and would never move. A
            `HyperVariable`. Defaults to `0.001`.
        include: Which variables are transformed: a regular expression that is
            searched in `variable.path`, a list of them, or a function. None means all.
        exclude: Which are not, in the same form. None means none.

    Raises:
        ValueError: If an argument is not of this form.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.SGD(0.1), [kx.gradients.NormalizeByLayer("weight")]
        ... )
        >>> kernel = keras.Variable([6.0, 8.0], name="kernel")  # length 10
        >>> optimizer.apply([keras.ops.array([0.0, 1e-6])], [kernel])
        >>> print(kernel.numpy().round(3))
        [6. 7.]

    References:
        - [Yu et al., 2017](https://arxiv.org/abs/1707.04822)
        - [You et al., 2017](https://arxiv.org/abs/1708.03888), for `scale="weight"`
    """

    def __init__(
        self,
        scale: str = "unit",
        *,
        per: str = "layer",
        epsilon: float = 1e-12,
        min_weight_norm: float = 1e-3,
        include: Pattern = None,
        exclude: Pattern = None,
    ) -> None:
        super().__init__(include=include, exclude=exclude)
        self.scale = choice(scale, "scale", _SCALES)
        self.per = choice(per, "per", KINDS)
        self.epsilon, self.min_weight_norm = (
            HyperVariable(
                number(value, name, above=0), name, bounds=(1e-30, None), scale="log"
            )
            for name, value in (
                ("epsilon", epsilon),
                ("min_weight_norm", min_weight_norm),
            )
        )

    def build(
        self, variables: Sequence[Variable], unit_axes: Mapping[str, Axes]
    ) -> None:
        super().build(variables, unit_axes)
        chosen = self.chosen(variables)
        self._groups = Groups(chosen, self.per, self.axes)

    def transform(
        self, gradients: Sequence[Tensor], variables: Sequence[Variable]
    ) -> Sequence[Tensor]:
        if not variables:
            return []
        norms = self._groups.norms(gradients, variables)
        factors = 1.0 / (norms + self.epsilon.value)
        if self.scale == "weight":
            lengths = self._groups.norms([v.value for v in variables], variables)
            factors = factors * ops.maximum(lengths, self.min_weight_norm.value)
        return self._groups.scaled(gradients, variables, factors)

    def get_config(self) -> Config:
        return {
            "scale": self.scale,
            "per": self.per,
            "epsilon": float(self.epsilon),
            "min_weight_norm": float(self.min_weight_norm),
            **super().get_config(),
        }
