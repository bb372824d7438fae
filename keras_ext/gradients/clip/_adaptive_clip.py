"""Adaptive gradient clipping."""

from collections.abc import Sequence

import keras
from keras import ops

from keras_ext._core._checks import number
from keras_ext._core._typing import Config, Pattern, Tensor, Variable
from keras_ext._engine._clip_by_group_norm import ClipByGroupNorm
from keras_ext._live._hyper_variable import live_factor


@keras.saving.register_keras_serializable(package="keras_ext")
class AdaptiveClip(ClipByGroupNorm):
    """Clips the gradient of every unit relative to the norm of its weights (AGC).

    For a unit with weights `w` and gradient `g`, the gradient is multiplied by
    `min(1, clipping * max(|w|, epsilon) / |g|)`. A unit is one output of a layer,
    see `keras_ext.optimizers.unit_axes`; norms are taken in float32. So no single
    update of SGD with learning rate 1 can move a unit by more than the fraction
    `clipping` of its length. Use it to train at large learning rates or batch sizes,
    above all without normalization layers; with Adam, whose steps hardly depend on the
    length of the gradient, it does little.

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
        per: What has a norm: `"unit"`, `"tensor"`, `"layer"` or `"global"`, as in
            `ClipByGroupNorm`. Defaults to `"unit"`.

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

    # As the published implementations.
    smallest_norm = 1e-6

    def __init__(
        self,
        clipping: float = 0.01,
        *,
        epsilon: float = 1e-3,
        include: Pattern = None,
        exclude: Pattern = None,
        per: str = "unit",
    ) -> None:
        super().__init__(per=per, include=include, exclude=exclude)
        self.clipping = live_factor(clipping, "clipping")
        self.epsilon = number(epsilon, "epsilon", above=0)

    def limits(self, norms: Tensor, variables: Sequence[Variable]) -> Tensor:
        lengths = self.groups.norms([v.value for v in variables], variables)
        return self.clipping.value * ops.maximum(lengths, self.epsilon)

    def get_config(self) -> Config:
        return {
            "clipping": float(self.clipping),
            "epsilon": self.epsilon,
            **super().get_config(),
        }
