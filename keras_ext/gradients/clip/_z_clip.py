"""Clipping of norms that are outliers."""

import math
from collections.abc import Sequence

import keras
from keras import ops

from keras_ext._core._checks import choice, integer, number
from keras_ext._core._typing import Config, Pattern, Tensor, Variable
from keras_ext._engine._clip_by_group_norm import ClipByGroupNorm
from keras_ext._live._hyper_variable import HyperVariable, live_factor

MODES = ("adaptive", "mean")


@keras.saving.register_keras_serializable(package="keras_ext")
class ZClip(ClipByGroupNorm):
    """Clips gradients whose norm is an outlier among the recent ones.

    It keeps a running mean and standard deviation of the norm. A norm that is more than
    `z_threshold` standard deviations above the mean is brought back towards it, the
    further the more it stood out: for a score `z` to
    `mean + z_threshold ** 2 * deviation / z`. Gradients of ordinary length keep every
    bit, unless they exceed `max_norm`. Use it against loss spikes in long trainings.

    Clipped norms enter the mean and the deviation as clipped. So after a lasting jump
    the limit grows only slowly, and not at all if the norms before never varied. Norms
    of zero do not enter.

    Args:
        z_threshold: Number > 0, the score above which a norm is an outlier, in
            standard deviations. A `HyperVariable` that may change while training.
            Defaults to `2.5`.
        smoothing: Number in [0, 1), the weight of the past in the averages.
            Defaults to `0.97`.
        warmup_steps: Integer >= 2, over how many updates the first mean and deviation
            are taken; until then only `max_norm` clips. Defaults to `25`.
        max_norm: Number >= 0, the largest norm in any case. A `HyperVariable` too. As
            in the authors' code there is one, since the warm-up has no other
            protection; it has to suit the model. None means no such limit.
            Defaults to `1.0`.
        rule: What outliers are clipped to: `"adaptive"` as above, or `"mean"` to the
            mean. Defaults to `"adaptive"`.
        per: What has a norm, and statistics: `"unit"`, `"tensor"`, `"layer"` or
            `"global"`, as in `ClipByGroupNorm`. Defaults to `"global"`.
        include: Which variables are clipped: a regular expression that is searched
            in `variable.path`, a list of them, or a function. None means all.
        exclude: Which are not, in the same form. None means none.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> clip = kx.gradients.ZClip(warmup_steps=2, max_norm=None)
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.SGD(1.0), [clip]
        ... )
        >>> kernel = keras.Variable([0.0], name="kernel")
        >>> for gradient in (4.0, 6.0, 30.0):  # mean 5, deviation 1, so 30 scores 25
        ...     optimizer.apply([keras.ops.array([gradient])], [kernel])
        ...     print(kernel.numpy().round(2))  # 30 becomes 5 + 2.5 ** 2 / 25
        [-4.]
        [-10.]
        [-15.25]

    References:
        - [Kumar et al., 2025](https://arxiv.org/abs/2504.02507)
    """

    # Of the authors' code: what the deviation is at least when a norm is divided by it.
    smallest_deviation = 1e-6

    def __init__(
        self,
        z_threshold: float = 2.5,
        *,
        smoothing: float = 0.97,
        warmup_steps: int = 25,
        max_norm: float | None = 1.0,
        rule: str = "adaptive",
        per: str = "global",
        include: Pattern = None,
        exclude: Pattern = None,
    ) -> None:
        super().__init__(per=per, include=include, exclude=exclude)
        max_norm = number(max_norm, "max_norm", low=0, optional=True)
        self.z_threshold = live_factor(z_threshold, "z_threshold", above=0)
        self.smoothing = number(smoothing, "smoothing", low=0, below=1)
        self.warmup_steps = integer(warmup_steps, "warmup_steps", low=2)
        self.max_norm = None
        if max_norm is not None:
            self.max_norm = HyperVariable(
                max_norm, "max_norm", bounds=(0.0, None), scale="log"
            )
        self.rule = choice(rule, "rule", MODES)

    def build_state(self, num_groups: int) -> None:
        self._mean = self.add_state((num_groups,), "mean")
        self._variance = self.add_state((num_groups,), "variance")
        # How many norms there were.
        self._count = self.add_state((num_groups,), "count")

    def limits(self, norms: Tensor, variables: Sequence[Variable]) -> Tensor:
        mean, deviation = self._mean.value, ops.sqrt(self._variance.value)
        scores = (norms - mean) / (deviation + self.smallest_deviation)
        threshold = self.z_threshold.value
        is_outlier = ops.logical_and(
            self._count.value >= self.warmup_steps, scores > threshold
        )
        target = mean
        if self.rule == "adaptive":
            floored = ops.maximum(scores, threshold)
            target = mean + threshold * (threshold / floored) * deviation
        self._remember(ops.where(is_outlier, target, norms))
        limits = ops.where(is_outlier, target, math.inf)
        if self.max_norm is not None:
            limits = ops.minimum(limits, self.max_norm.value)
        return limits

    def _remember(self, norms: Tensor) -> None:
        mean, variance, count = (
            v.value for v in (self._mean, self._variance, self._count)
        )
        # In the warm-up all norms have the same weight.
        warming = count < self.warmup_steps
        share = ops.where(warming, 1.0 / (count + 1.0), 1.0 - self.smoothing)
        new_mean = mean + share * (norms - mean)
        # Welford's recurrence, exact for a plain mean; after the warm-up, the authors'
        # code measures from the new mean alone.
        square = ops.where(warming, norms - mean, norms - new_mean) * (norms - new_mean)
        new_variance = (1.0 - share) * variance + share * square
        is_known = norms > 0
        self._mean.assign(ops.where(is_known, new_mean, mean))
        self._variance.assign(ops.where(is_known, new_variance, variance))
        # Where float32 stops counting, the warm-up is long over.
        self._count.assign(ops.where(is_known, count + 1.0, count))

    def get_config(self) -> Config:
        return {
            "z_threshold": float(self.z_threshold),
            "smoothing": self.smoothing,
            "warmup_steps": self.warmup_steps,
            "max_norm": None if self.max_norm is None else float(self.max_norm),
            "rule": self.rule,
            **super().get_config(),
        }
