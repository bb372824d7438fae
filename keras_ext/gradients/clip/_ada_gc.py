"""Clipping to a multiple of the usual norm of a weight's gradient."""

import math
from collections.abc import Sequence

import keras
from keras import ops

from keras_ext._core._checks import integer, number
from keras_ext._core._typing import Config, Pattern, Tensor, Variable
from keras_ext._engine._clip_by_group_norm import ClipByGroupNorm
from keras_ext._live._hyper_variable import live_factor


@keras.saving.register_keras_serializable(package="keras_ext")
class AdaGC(ClipByGroupNorm):
    """Clips the gradient of each weight relative to its own recent norms.

    In the warm-up all gradients are scaled together to a joint norm of at most
    `absolute`, and the smallest norm of each weight is remembered. After it, no
    gradient may be longer than `relative` times the average of its norms so far, those
    after clipping. A spike in one layer leaves the steps of the others as they are,
    which clipping by the global norm does not.

    The limit of a weight whose gradients keep growing follows slowly: with the
    defaults by 0.1 % an update, twice as much in 700 updates. Take `relative` 1.2 or
    more for short trainings.

    In two points this goes beyond the paper. A gradient of zero says nothing about the
    ones to come and leaves the average as it is. And averages below
    `floor * absolute / sqrt(number of weights)` count as that much: a weight that
    hardly had a gradient during the warm-up could never move otherwise.

    Args:
        absolute: Number > 0, the largest joint norm in the warm-up. A `HyperVariable`
            that may change while training. Defaults to `1.0`.
        relative: Number > 0, the largest ratio of a norm to the average of its own. A
            `HyperVariable` too. Defaults to `1.05`.
        smoothing: Number in [0, 1), the weight of the past in the average.
            Defaults to `0.98`.
        warmup_steps: Integer >= 0, the number of updates of the warm-up.
            Defaults to `100`.
        epsilon: Number >= 0, the smallest average that counts, as a share of an equal
            part of `absolute`; 0 is the published rule. Defaults to `0.001`.
        per: What has a norm, and an average: `"unit"`, `"tensor"`, `"layer"` or
            `"global"`, as in `ClipByGroupNorm`. Defaults to `"tensor"`.
        include: Which variables are clipped: a regular expression that is searched
            in `variable.path`, a list of them, or a function. None means all.
        exclude: Which are not, in the same form. None means none.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> clip = kx.gradients.AdaGC(relative=1.5, smoothing=0.0, warmup_steps=1)
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.SGD(1.0), [clip]
        ... )
        >>> kernel = keras.Variable([0.0], name="kernel")
        >>> for gradient in (8.0, 8.0, 2.0):  # clipped to 1, 1.5, and not
        ...     optimizer.apply([keras.ops.array([gradient])], [kernel])
        ...     print(kernel.numpy().round(2))
        [-1.]
        [-2.5]
        [-4.5]

    References:
        - [Wang et al., 2025](https://arxiv.org/abs/2502.11034)
    """

    def __init__(
        self,
        absolute: float = 1.0,
        *,
        relative: float = 1.05,
        smoothing: float = 0.98,
        warmup_steps: int = 100,
        epsilon: float = 1e-3,
        per: str = "tensor",
        include: Pattern = None,
        exclude: Pattern = None,
    ) -> None:
        super().__init__(per=per, include=include, exclude=exclude)
        self.absolute = live_factor(absolute, "absolute", above=0)
        self.relative = live_factor(relative, "relative", above=0)
        self.smoothing = number(smoothing, "smoothing", low=0, below=1)
        self.warmup_steps = integer(warmup_steps, "warmup_steps", low=0)
        self.epsilon = number(epsilon, "epsilon", low=0)

    def build_state(self, num_groups: int) -> None:
        # Zero means that there was no gradient yet.
        self._averages = self.add_state((num_groups,), "averages")
        self._updates = self.add_state((), "updates")

    def limits(self, norms: Tensor, variables: Sequence[Variable]) -> Tensor:
        averages, updates = self._averages.value, self._updates.value
        starting = ops.logical_or(updates < self.warmup_steps, ops.equal(averages, 0))
        limits = ops.where(
            starting, self._joint_limits(norms), self._own_limits(averages)
        )
        clipped = ops.minimum(norms, limits)
        changed = ops.where(
            starting,
            ops.minimum(clipped, ops.where(averages > 0, averages, clipped)),
            averages + (1.0 - self.smoothing) * (clipped - averages),
        )
        self._averages.assign(ops.where(clipped > 0, changed, averages))
        # Where float32 stops counting, the warm-up is long over.
        self._updates.assign(updates + 1.0)
        return limits

    def _joint_limits(self, norms: Tensor) -> Tensor:
        length = ops.sqrt(ops.sum(ops.square(norms)))
        floored = ops.maximum(length, self.smallest_norm)
        # One factor for all groups, put as a limit for each.
        return norms * ops.minimum(1.0, self.absolute.value / floored)

    def _own_limits(self, averages: Tensor) -> Tensor:
        floor = self.epsilon * self.absolute.value / math.sqrt(len(self.groups))
        return self.relative.value * ops.maximum(averages, floor)

    def get_config(self) -> Config:
        return {
            "absolute": float(self.absolute),
            "relative": float(self.relative),
            "smoothing": self.smoothing,
            "warmup_steps": self.warmup_steps,
            "epsilon": self.epsilon,
            **super().get_config(),
        }
