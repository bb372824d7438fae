"""Adaptive clipping of each coordinate."""

from collections.abc import Mapping, Sequence

import keras
from keras import ops

from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._checks import number
from keras_ext._core._typing import Config, Pattern, Tensor, Variable
from keras_ext._engine._gradient_transform import GradientTransform


@keras.saving.register_keras_serializable(package="keras_ext")
class CoordinateClip(GradientTransform):
    """Clips each coordinate of the momentum to the usual size of its gradient (ACClip).

    For each element of a weight it keeps a momentum `m`, an average of the gradients
    `g`, and a threshold `t`, an average of their magnitudes: `t ** alpha` is that of
    `|g| ** alpha`. The gradient is replaced by `min(1, t / (|m| + epsilon)) * m`. Use
    it with `SGD` without momentum, where the noise of the gradient has heavy tails, as
    in language models: there SGD is slow, and it is an alternative to Adam.

    Both averages start at zero, as published. The threshold is the slower one, so the
    first update is `1 - beta_2` times the gradient, 1 % of it, and the full length
    comes in the course of the first hundred updates.

    Args:
        beta_1: Number in [0, 1), the weight of the past in the momentum.
            Defaults to `0.9`.
        beta_2: Number in [0, 1), the weight of the past in the threshold.
            Defaults to `0.99`.
        alpha: Number in [1, 2], the power that is averaged; higher ones have higher
            thresholds. Defaults to `1.0`.
        epsilon: Number > 0, added to the magnitude that the threshold is divided by.
            Defaults to `1e-5`.
        include: Which variables are clipped: a regular expression that is searched
            in `variable.path`, a list of them, or a function. None means all.
        exclude: Which are not, in the same form. None means none.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> clip = kx.gradients.CoordinateClip(beta_1=0.0, beta_2=0.5)
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.SGD(1.0), [clip]
        ... )
        >>> kernel = keras.Variable([0.0], name="kernel")
        >>> for gradient in (8.0, 2.0, 10.5):  # the thresholds are 4, 3 and 6.75
        ...     optimizer.apply([keras.ops.array([gradient])], [kernel])
        ...     print(kernel.numpy().round(2))
        [-4.]
        [-6.]
        [-12.75]

    References:
        - [Zhang et al., 2020](https://arxiv.org/abs/1912.03194)
    """

    def __init__(
        self,
        beta_1: float = 0.9,
        *,
        beta_2: float = 0.99,
        alpha: float = 1.0,
        epsilon: float = 1e-5,
        include: Pattern = None,
        exclude: Pattern = None,
    ) -> None:
        super().__init__(include=include, exclude=exclude)
        self.beta_1 = number(beta_1, "beta_1", low=0, below=1)
        self.beta_2 = number(beta_2, "beta_2", low=0, below=1)
        self.alpha = number(alpha, "alpha", low=1, high=2)
        self.epsilon = number(epsilon, "epsilon", above=0)

    def build(
        self, variables: Sequence[Variable], unit_axes: Mapping[str, Axes]
    ) -> None:
        super().build(variables, unit_axes)
        chosen = self.chosen(variables)
        self._momenta, self._powers = (
            {id(v): self.add_state(v.shape, f"{v.name}_{name}") for v in chosen}
            for name in ("momentum", "power")
        )

    def transform(
        self, gradients: Sequence[Tensor], variables: Sequence[Variable]
    ) -> Sequence[Tensor]:
        return [
            ops.cast(self._clipped(ops.cast(g, "float32"), v), g.dtype)
            for g, v in zip(gradients, variables, strict=True)
        ]

    def _clipped(self, gradient: Tensor, variable: Variable) -> Tensor:
        size = ops.abs(gradient)
        power = size if self.alpha == 1 else size**self.alpha
        momentum = _averaged(self._momenta[id(variable)], gradient, self.beta_1)
        power = _averaged(self._powers[id(variable)], power, self.beta_2)
        threshold = power if self.alpha == 1 else power ** (1.0 / self.alpha)
        ratio = threshold / (ops.abs(momentum) + self.epsilon)
        return ops.minimum(1.0, ratio) * momentum

    def get_config(self) -> Config:
        return {
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "alpha": self.alpha,
            "epsilon": self.epsilon,
            **super().get_config(),
        }


def _averaged(average: Variable, new: Tensor, beta: float) -> Tensor:
    """Brings an exponential average up to date, and returns it."""
    value = beta * average.value + (1.0 - beta) * new
    average.assign(value)
    return value
