"""The base of proximal operators and projections."""

import math
import re
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from keras import ops

from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._checks import choice
from keras_ext._core._typing import Config, Tensor, Variable
from keras_ext._live._live_attributes import LiveAttributes

PER = ("unit", "input", "tensor")


class Operator(LiveAttributes):
    """What brings a weight nearer to what a penalty, or a set, asks for.

    To a penalty `R` belongs its proximal operator, the `x` that makes
    `step * R(x) + norm(x - w)**2 / 2` smallest; to a set the projection onto it. Give
    one to `keras_ext.optimizers.Proximal` or `keras_ext.optimizers.ADMM`.

    To write one, override `__call__`, and `get_config` if it has arguments. A
    `HyperVariable` in an attribute may change while training.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> @keras.saving.register_keras_serializable("my_package")
        ... class Rounding(kx.optimizers.operators.Operator):
        ...     def __call__(self, weight, step, axes):
        ...         return keras.ops.round(weight)
        >>> optimizer = kx.optimizers.Proximal(keras.optimizers.SGD(1.0), Rounding())
        >>> kernel = keras.Variable([[0.0]], name="kernel")
        >>> optimizer.apply([keras.ops.array([[-1.6]])], [kernel])
        >>> print(kernel.numpy())
        [[2.]]
    """

    # Tells `hyper_variables` to look inside.
    holds_hyper_variables: ClassVar[bool] = True
    # Whether `step` may have a number for each element, which stands for a distance
    # that weighs each element by its inverse.
    takes_steps: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The name in the paths of its hyperparameters, such as `l1_shrinkage`."""
        starts = r"(?<=[a-z0-9])(?=[A-Z])"
        return re.sub(starts, "_", type(self).__name__).lower()

    def check(self, variable: Variable) -> None:
        """Raises a `ValueError` if this is not for such a weight."""

    def __call__(self, weight: Tensor, step: Tensor, axes: Axes) -> Tensor:
        """Returns the new value of a weight, called while the step is traced.

        Args:
            weight: The value, in float32 or float64.
            step: By what the penalty is multiplied, a scalar; with `takes_steps` also a
                tensor of the shape of the weight. Projections do not need it.
            axes: The axes within one unit, see `keras_ext.optimizers.unit_axes`.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must override __call__(weight, step, axes)."
        )

    def get_config(self) -> Config:
        return dict(self.live_config())

    @classmethod
    def from_config(cls, config: Config) -> Self:
        return cls(**config)


def penalty(step: Tensor, strength: Any, weight: Tensor) -> Tensor:
    """How strong a penalty is in a step, in the type of the weight.

    Args:
        step: The length of the step.
        strength: A `HyperVariable`, which is float32.
        weight: The weight.
    """
    return step * ops.cast(strength.value, weight.dtype)


def checked_per(per: str) -> str:
    """What a group is, checked."""
    return choice(per, "per", PER)


def group_axes(weight: Tensor, axes: Axes, per: str) -> Axes:
    """The axes within one group of a weight."""
    every = tuple(range(len(weight.shape)))
    if per == "tensor":
        return every
    if per == "unit":
        return tuple(axes)
    # An input feature or channel: the axis before that of the units.
    kept = max(len(every) - 2, 0)
    return tuple(i for i in every if i != kept)


def group_size(weight: Tensor, axes: Axes) -> int:
    """How many elements a group has."""
    return math.prod(weight.shape[i] for i in axes)


def soft_threshold(weight: Tensor, threshold: Tensor) -> Tensor:
    """Moves each element towards zero, and those that are nearer onto it."""
    return ops.sign(weight) * ops.relu(ops.abs(weight) - threshold)


def shrunk_groups(weight: Tensor, threshold: Tensor, axes: Sequence[int]) -> Tensor:
    """Moves each group towards zero, and those with a smaller norm onto it.

    Args:
        weight: The weight.
        threshold: By how much the norm becomes smaller, a scalar; or a number for each
            element, where distances are weighed by its inverse.
        axes: The axes within a group.
    """
    axes, threshold = tuple(axes), ops.convert_to_tensor(threshold, weight.dtype)
    if not len(threshold.shape):
        norms = ops.sqrt(ops.sum(ops.square(weight), axis=axes, keepdims=True))
        positive = norms > threshold
        # `where` computes both: 0 / 0 would be a NaN in what is not chosen.
        safe = ops.where(positive, norms, ops.ones_like(norms))
        return weight * ops.where(positive, 1.0 - threshold / safe, 0.0)
    norm = _norm_of_solution(weight, threshold, axes)
    scaled = norm + threshold
    # A threshold of 0, where there is no penalty, at an element of a group of norm 0.
    return weight * norm / ops.where(scaled > 0, scaled, ops.ones_like(scaled))


# Halvings: the norm is exact to the last bit of float32.
_NUM_HALVINGS = 30


def _norm_of_solution(weight: Tensor, thresholds: Tensor, axes: Axes) -> Tensor:
    """The norm `s` of the solution, where `norm(weight / (s + thresholds))` is 1."""

    def is_below(norm: Tensor) -> Tensor:
        scaled = norm + thresholds
        # Without threshold and norm, any element but 0 has to count as far too large.
        scaled = ops.where(scaled > 0, scaled, ops.full_like(scaled, 1e-30))
        ratios = ops.square(weight / scaled)
        return ops.sum(ratios, axis=axes, keepdims=True) > 1.0

    # No threshold is negative, so the norm of the solution is at most that of the
    # weight.
    high = ops.sqrt(ops.sum(ops.square(weight), axis=axes, keepdims=True))
    low = ops.zeros_like(high)

    def halve(i: Tensor, bounds: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        del i
        low, high = bounds
        middle = 0.5 * (low + high)
        below = is_below(middle)
        return ops.where(below, middle, low), ops.where(below, high, middle)

    _, found = ops.fori_loop(0, _NUM_HALVINGS, halve, (low, high))
    # Where the sum is at most 1 even at the norm 0, the whole group is 0.
    return ops.where(is_below(low), found, low)
