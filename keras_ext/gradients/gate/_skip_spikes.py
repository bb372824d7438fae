"""Updates with a gradient far out of the ordinary are left out."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import keras
from keras import ops

from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._checks import integer, number
from keras_ext._core._typing import Config, Pattern, Tensor, Variable
from keras_ext._engine._skip_non_finite import SkipNonFinite
from keras_ext._live._hyper_variable import HyperVariable, live_factor


@keras.saving.register_keras_serializable(package="keras_ext")
class SkipSpikes(SkipNonFinite):
    """Leaves out updates whose gradient norm is a spike.

    A spike is a norm, over all chosen weights, above both `mean + z_threshold * std`
    and `min_ratio * mean`, with the mean and the standard deviation of the norms
    before it, averaged with the weight `smoothing` for the past. Unlike with clipping,
    the whole update is skipped: weights, optimizer and loss scale stay as they are, as
    if the batch had not been there. Use it if single bad batches, for example of broken
    data, throw the training back; if large gradients are the rule, clip.

    In the first `warmup_steps` updates every finite norm is accepted, since at the
    start gradients change quickly and there is nothing to compare with. A norm that is
    left out counts as one that is just at the limit. So a single spike hardly widens
    the limit, but when the level of the norms really changes, the limit follows: with
    the defaults, and a standard deviation of a tenth of the mean, three times the norm
    is accepted after some 4 updates, ten times after 10, and a hundred times after 18.
    Whatever needs more than `max_consecutive` is an error, as in `SkipNonFinite`,
    whose rules hold here too: NaN and infinity are spikes. It names the weight with the
    largest part in the first spike.

    Args:
        z_threshold: Number > 0; by how many standard deviations above the mean a norm
            is a spike. A `HyperVariable` that may change while training.
            Defaults to `6.0`.
        smoothing: Number in [0, 1), the weight of the past in the averages.
            Defaults to `0.98`.
        warmup_steps: Integer >= 1; updates to accept at the start.
            Defaults to `100`.
        min_ratio: Number >= 1; a norm below this multiple of the mean is no
            spike, however small the standard deviation. A `HyperVariable`.
            Defaults to `2.0`.
        max_consecutive: Integer >= 0; more skipped updates in a row are an error. A
            `HyperVariable`. Defaults to `20`.
        raise_in_step: Whether to fail in the update itself, too, where that is
            possible. Defaults to `True`.
        include: Of which variables the norm is: a regular expression that is searched
            in `variable.path`, a list of them, or a function. None means all.
        exclude: Which are left out of it, in the same form. None means none.

    Raises:
        ValueError: If an argument is not of this form.
        RuntimeError: By `check`, as in `SkipNonFinite`.
        tensorflow.errors.InvalidArgumentError: By the update, as in `SkipNonFinite`.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> skip = kx.gradients.SkipSpikes(warmup_steps=3)
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.SGD(1.0), [skip]
        ... )
        >>> kernel = keras.Variable([0.0], name="kernel")
        >>> for gradient in (1.0, 1.1, 0.9, 70.0, 1.0):
        ...     optimizer.apply([keras.ops.array([gradient])], [kernel])
        >>> print(kernel.numpy(), skip.skipped)
        [-4.] 1

    References:
        - `SkipStepOptimizer` of [OLMo-core](https://github.com/allenai/OLMo-core) skips
          updates by six standard deviations of the last 128 norms.
    """

    error: ClassVar[type[Exception]] = RuntimeError
    finding: ClassVar[str] = "had the largest part in a spike"

    def __init__(
        self,
        z_threshold: float = 6.0,
        *,
        smoothing: float = 0.98,
        warmup_steps: int = 100,
        min_ratio: float = 2.0,
        max_consecutive: int = 20,
        raise_in_step: bool = True,
        include: Pattern = None,
        exclude: Pattern = None,
    ) -> None:
        super().__init__(
            max_consecutive,
            raise_in_step=raise_in_step,
            include=include,
            exclude=exclude,
        )
        self.z_threshold = live_factor(z_threshold, "z_threshold", above=0)
        self.smoothing = number(smoothing, "smoothing", low=0, below=1)
        self.warmup_steps = integer(warmup_steps, "warmup_steps", low=1)
        self.min_ratio = HyperVariable(
            number(min_ratio, "min_ratio", low=1),
            "min_ratio",
            bounds=(1.0, None),
            scale="log",
        )

    def build(
        self, variables: Sequence[Variable], unit_axes: Mapping[str, Axes]
    ) -> None:
        super().build(variables, unit_axes)
        # The number of norms, the sum of their weights, their mean and variance.
        self._norms = self.add_state((4,), "norm_statistics")

    def accepts(self, squared_norms: Tensor) -> Tensor:
        norm = ops.sqrt(ops.sum(squared_norms))
        finite = ops.isfinite(norm)
        statistics = ops.convert_to_tensor(self._norms.value)
        count, _, mean, variance = ops.unstack(statistics)
        limit = ops.maximum(
            mean + self.z_threshold.value * ops.sqrt(variance),
            self.min_ratio.value * mean,
        )
        # Nothing can be compared with a mean of zero.
        known = ops.logical_and(count >= self.warmup_steps, mean > 0)
        limit = ops.where(known, limit, float("inf"))
        # A norm that is left out counts as one that is just at the limit.
        present = ops.where(finite, ops.minimum(norm, limit), mean)
        updated = self._updated(statistics, present)
        self._norms.assign(ops.where(finite, updated, statistics))
        return ops.logical_and(finite, norm <= limit)

    def _updated(self, statistics: Tensor, norm: Tensor) -> Tensor:
        """The exponentially weighted mean and variance, without a bias at the start."""
        count, weight, mean, variance = ops.unstack(statistics)
        # 1 + s + s ** 2 and so on: the newest has the share `1 / weight`, the first one
        # all.
        weight = self.smoothing * weight + 1.0
        step = norm - mean
        mean = mean + step / weight
        variance = (1.0 - 1.0 / weight) * (variance + ops.square(step) / weight)
        return ops.stack([count + 1.0, weight, mean, variance])

    def blame(self, squared_norms: Tensor) -> Tensor:
        bad = super().blame(squared_norms)
        return ops.where(ops.any(bad > 0), bad, squared_norms)

    def get_config(self) -> Config:
        return {
            "z_threshold": float(self.z_threshold),
            "smoothing": self.smoothing,
            "warmup_steps": self.warmup_steps,
            "min_ratio": float(self.min_ratio),
            **super().get_config(),
        }
