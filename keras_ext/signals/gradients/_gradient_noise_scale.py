"""The gradient noise scale."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf
from keras import ops

from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._checks import integer, number
from keras_ext._core._typing import Tensor, Variable
from keras_ext._engine._gradient_signal import GradientSignal, Update
from keras_ext._keras._replica import num_replicas, squared_norms
from keras_ext._live._hyper_variable import HyperVariable


class GradientNoiseScale(GradientSignal):
    """Estimates how many micro-batches a gradient should be the mean of.

    The simple noise scale is the trace of the covariance of the gradient divided by
    its squared norm: the batch size at which noise and signal are equally strong.
    Smaller batches are mostly noise; larger ones cost more and help little. It is
    measured in *micro-batches* (one batch that one replica receives); multiply by
    their size to get samples.

    Both parts are estimated without bias by comparing the squared norm of the mean
    gradient with the mean squared norm of the gradients it is the mean of:
    micro-batches when accumulating, replicas when distributed, and otherwise the
    gradients of two successive updates (which adds the change of the true gradient
    between them to the noise, and keeps a copy of the gradient). The two are averaged
    separately, since the mean of their ratio is biased. Batch normalization makes the
    gradients of one micro-batch depend on each other; the estimate is then that of the
    micro-batch.

    The attribute `unit`, a `HyperVariable` that is 1 at first, is the unit of what is
    read. Assign it the number of samples in a micro-batch, and again when that changes,
    to get samples: the averages then stay right when the batch grows.

    Args:
        every: Integer >= 2; without accumulation and replicas, compare two successive
            updates at this interval. Until there are `min_samples` comparisons, each
            update is compared with its neighbor. Defaults to `10`.
        smoothing: Number in [0, 1), the weight of the past in both averages.
            Defaults to `0.95`.
        min_samples: Integer >= 1; before this many comparisons `read` returns NaN.
            Defaults to `10`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> noise = kx.signals.GradientNoiseScale()
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.SGD(0.0), accumulation_steps=8, signals=[noise]
        ... )
        >>> weight = keras.Variable(np.zeros(100, "float32"), name="weight")
        >>> rng = np.random.default_rng(0)
        >>> for _ in range(8 * 20):  # signal 100 * 0.5**2 = 25, noise 100
        ...     optimizer.apply([keras.ops.array(rng.normal(0.5, 1, 100))], [weight])
        >>> 3.5 < noise.read() < 4.5
        True

    References:
        - [McCandlish et al., 2018](https://arxiv.org/abs/1812.06162), appendix A
    """

    local_shapes = ((),)

    def __init__(
        self, every: int = 10, *, smoothing: float = 0.95, min_samples: int = 10
    ) -> None:
        super().__init__()
        self.every = integer(every, "every", low=2)
        self.smoothing = number(smoothing, "smoothing", low=0, below=1)
        self.min_samples = integer(min_samples, "min_samples", low=1)
        self.unit = HyperVariable(1.0, "unit", bounds=(0.0, None))

    def build(
        self, variables: Sequence[Variable], unit_axes: Mapping[str, Axes]
    ) -> None:
        # Averages of signal and noise, their samples, squared norm of `previous`.
        self._numbers = self.add_state((4,), "noise_scale")
        self.unit.build()
        self._previous: dict[int, Variable] = {}
        if num_replicas() == 1:
            self._previous = {
                id(v): self.add_state(v.shape, f"{v.name}_previous") for v in variables
            }

    def measure_locally(
        self, gradients: Sequence[Tensor], variables: Sequence[Variable]
    ) -> Sequence[Tensor]:
        return [ops.sum(squared_norms(gradients))]

    def before_update(self, update: Update) -> None:
        together = ops.sum(update.squared_norms)
        if self not in update.local_sums:
            self._compare_successive(update, together)
            return
        (total,) = update.local_sums[self]
        tf.cond(
            update.micro_batches > 1,
            lambda: self._compare(update.micro_batches, total, together),
            lambda: self._compare_successive(update, together),
        )

    def _compare(self, count: Tensor, total: Tensor, together: Tensor) -> None:
        """Takes in the mean of `count` gradients whose squared norms sum to `total`."""
        alone = total / count
        signal = (count * together - alone) / (count - 1.0)
        noise = (alone - together) / (1.0 - 1.0 / count) * self.unit.value
        old = self._numbers.value
        mixed = self.smoothing * old[:2] + (1.0 - self.smoothing) * ops.stack(
            [signal, noise]
        )
        # The 0 says that there is no gradient to compare the next one with.
        self._numbers.assign(
            ops.concatenate([mixed, old[2:3] + 1.0, ops.zeros(1, "float32")])
        )

    def _compare_successive(self, update: Update, together: Tensor) -> None:
        """Keeps one gradient in `every`, at first in two, and compares the next one."""
        if not self._previous:
            return
        # Nobody can act before enough is known: at first no update is passed over.
        is_new = self._numbers.value[2] < self.min_samples
        phase = ops.mod(update.iteration, ops.where(is_new, 2, self.every))
        is_kept = self._numbers.value[3] > 0
        tf.cond(ops.equal(phase, 0), lambda: self._keep(update, together), lambda: None)
        tf.cond(
            ops.logical_and(ops.equal(phase, 1), is_kept),
            lambda: self._compare_kept(update, together),
            lambda: None,
        )

    def _keep(self, update: Update, together: Tensor) -> None:
        for gradient, variable in zip(update.gradients, update.variables, strict=True):
            self._previous[id(variable)].assign(gradient)
        old = self._numbers.value
        self._numbers.assign(ops.concatenate([old[:3], together[None]]))

    def _compare_kept(self, update: Update, together: Tensor) -> None:
        product = sum(
            ops.sum(ops.cast(g, "float32") * self._previous[id(v)].value)
            for g, v in zip(update.gradients, update.variables, strict=True)
        )
        total = together + self._numbers.value[3]
        # |(a + b) / 2|**2 = (|a|**2 + |b|**2 + 2 ab) / 4
        self._compare(
            ops.full((), 2.0, "float32"), total, (total + 2.0 * product) / 4.0
        )

    def read(self) -> float:
        """Fetches the noise scale in micro-batches.

        Returns:
            A number > 0; NaN while too little was measured, or while the noise hides
            the gradient so well that its estimated squared norm is not positive.
        """
        signal, noise = self.read_parts()
        return noise / signal if signal > 0 and noise > 0 else float("nan")

    def read_parts(self) -> tuple[float, float]:
        """Fetches the two parts that the noise scale is the ratio of.

        Returns:
            The squared norm of the true gradient, which can come out negative, and the
            trace of the covariance of the gradient of a micro-batch. NaN while too
            little was measured.
        """
        if not self.state:
            return float("nan"), float("nan")
        numbers = keras.ops.convert_to_numpy(self._numbers).astype("float64")
        signal, noise, samples, *_ = numbers
        if samples < self.min_samples:
            return float("nan"), float("nan")
        # The averages began at zero.
        weight = 1.0 - self.smoothing**samples
        return float(signal / weight), float(noise / weight)
