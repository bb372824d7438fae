"""Mean and variance of sample gradients, element by element."""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from keras import ops

from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._checks import integer
from keras_ext._core._typing import Record, Tensor, Variable
from keras_ext._engine._gradient_signal import GradientSignal, Update

# An element whose variance is a smaller part of its squared mean than this does not
# vary: float32 cannot tell such a variance from rounding.
_SMALLEST_VARIANCE = 1e-6
# With fewer degrees of freedom the mean of element-wise ratios has no useful variance.
_FEWEST_DEGREES = 5.0
_QUANTITIES = (
    "noise",
    "signal",
    "snr",
    "noise_scale",
    "gsnr",
    "diversity",
    "evidence",
)


class GradientMoments(GradientSignal):
    """Estimates the noise in the gradient, and what it leaves of the gradient.

    The gradients of `window` samples or more are pooled; then their mean and their
    variance, element by element, become these numbers, for each weight and for all
    together, and the next window begins. A sample is a micro-batch (one batch that one
    replica receives) when accumulating or on several replicas, and otherwise the batch
    of an update.

    - `noise`: trace of the covariance of the gradient of one sample.
    - `signal`: squared norm of the true gradient, without the bias that noise gives
      to that of a mean. It can come out negative.
    - `snr`: `signal` over the noise in the gradient of an update, which is `noise`
      divided by the number of samples in it.
    - `noise_scale`: `noise / signal`, how many samples an update should be the mean
      of; NaN unless both are positive.
    - `gsnr`: mean over elements of squared true gradient over variance of a sample.
      Elements that do not vary are left out.
    - `diversity`: sum of the squared norms of the sample gradients over the squared
      norm of their sum; times the number of samples, how many more of them can be
      worked on at once.
    - `evidence`: that of Mahsereci et al. that training is done: positive if the mean
      gradient of the window is no larger than sampling from a true gradient of zero
      makes it. It is minus `gsnr` times the number of samples, or, in windows of fewer
      than six samples, minus `signal / noise` times that number.

    `noise` and `signal` have no bias, and neither have `gsnr` and `evidence` for normal
    gradients, as long as the true gradient stays the same. The samples of one update
    are compared with one another; only where an update is a single sample, successive
    ones are compared, and the change of the true gradient within the window counts as
    noise. A window with more samples than the data has sees some samples twice, and
    underestimates the noise of the mean. Batch normalization makes the gradients of
    one micro-batch depend on each other; the estimates are those of the micro-batch.

    Keeps two float32 copies of the gradient on the device, and three when accumulating.

    Args:
        window: Integer >= 2, how many samples to pool at least. None pools all since
            the last `read()`: called at the end of an epoch, those of the epoch.
            Defaults to `16`.
        every: Integer >= 1; begin a window at this interval of updates, or at the next
            such update after the last window. Defaults to `1`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> moments = kx.signals.GradientMoments(window=2)
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.SGD(0.1), signals=[moments]
        ... )
        >>> weight = keras.Variable([0.0], name="weight")
        >>> optimizer.apply([keras.ops.array([1.0])], [weight])
        >>> optimizer.apply([keras.ops.array([3.0])], [weight])
        >>> values = moments.read()["global"]
        >>> values["noise"], values["signal"], values["diversity"]
        (2.0, 3.0, 0.625)

    References:
        - [McCandlish et al., 2018](https://arxiv.org/abs/1812.06162), appendix A
        - [Liu et al., 2020](https://arxiv.org/abs/2001.07384) (GSNR)
        - [Yin et al., 2018](https://arxiv.org/abs/1706.05699) (diversity)
        - [Mahsereci et al., 2017](https://arxiv.org/abs/1703.09580) (evidence)
    """

    def __init__(self, window: int | None = 16, *, every: int = 1) -> None:
        super().__init__()
        self.window = integer(window, "window", low=2, optional=True)
        self.every = integer(every, "every", low=1)

    def build(
        self, variables: Sequence[Variable], unit_axes: Mapping[str, Axes]
    ) -> None:
        self._paths = [v.path for v in variables]
        self._index = {id(v): i for i, v in enumerate(variables)}
        self.local_shapes = [tuple(v.shape) for v in variables]
        self._means = [self.add_state(v.shape, f"{v.name}_mean") for v in variables]
        # Sums of squared distances from the mean.
        self._scatters = [
            self.add_state(v.shape, f"{v.name}_scatter") for v in variables
        ]
        # Samples, degrees of freedom and updates of the window that is being filled.
        self._counts = self.add_state((3,), "counts")
        # Of the last one that was full, with the number of windows; and its sums.
        self._full_counts = self.add_state((4,), "full_counts")
        self._full_sums = self.add_state((4, len(variables)), "full_sums")

    def measure_locally(
        self, gradients: Sequence[Tensor], variables: Sequence[Variable]
    ) -> Sequence[Tensor]:
        squares: list[Tensor] = [
            ops.zeros(shape, "float32") for shape in self.local_shapes
        ]
        for gradient, variable in zip(gradients, variables, strict=True):
            squares[self._index[id(variable)]] = ops.square(
                ops.cast(gradient, "float32")
            )
        return squares

    def before_update(self, update: Update) -> None:
        if self.every == 1:
            self._take_in(update)
            return
        begins = ops.equal(ops.mod(update.iteration, self.every), 0)
        is_due = ops.logical_or(self._counts.value[0] > 0, begins)
        tf.cond(is_due, lambda: self._take_in(update), lambda: None)

    def _take_in(self, update: Update) -> None:
        """Adds the samples of an update to the window."""
        before, degrees, updates = ops.unstack(self._counts.value)
        count = update.micro_batches
        after = before + count
        squares = update.local_sums.get(self)
        is_alone = ops.equal(count, 1.0)
        for gradient, variable in zip(update.gradients, update.variables, strict=True):
            i = self._index[id(variable)]
            gradient = ops.cast(gradient, "float32")
            # A new window begins from nothing, whatever is left of the last one.
            old = ops.where(before > 0, self._means[i].value, 0.0)
            change = gradient - old
            # One sample is compared with those before it; several with each other, so
            # that the way of the true gradient from update to update is no noise.
            scatter = ops.square(change) * (before / after)
            if squares is not None:
                within = squares[i] - count * ops.square(gradient)
                scatter = ops.where(is_alone, scatter, ops.maximum(within, 0.0))
            self._means[i].assign(old + change * (count / after))
            kept = ops.where(before > 0, self._scatters[i].value, 0.0)
            self._scatters[i].assign(kept + scatter)
        alone = ops.cast(before > 0, "float32")
        degrees = degrees + ops.where(is_alone, alone, count - 1.0)
        counts = ops.stack([after, degrees, updates + 1.0])
        self._counts.assign(counts)
        if self.window is not None:
            is_full = after >= self.window
            tf.cond(is_full, lambda: self._finish(counts), lambda: None)

    def _finish(self, counts: Tensor) -> None:
        """Keeps the sums of a full window, and begins a new one."""
        columns = [
            _sums(mean.value, scatter.value / counts[1])
            for mean, scatter in zip(self._means, self._scatters, strict=True)
        ]
        self._full_sums.assign(ops.stack(columns, axis=1))
        windows = self._full_counts.value[3:] + 1.0
        self._full_counts.assign(ops.concatenate([counts, windows]))
        self._counts.assign(ops.zeros((3,), "float32"))

    def read(self) -> Record:
        """Fetches the numbers of the last full window, or ends the present one.

        Returns:
            A dictionary with `"global"`, from quantity to number; `"per_weight"`, from
            the path of a weight to such a dictionary; `"samples"`, the number of
            samples in the window; and `"windows"`, how many there were so far. Before
            the first one the values are NaN; those of a weight without a gradient are
            0 or NaN.
        """
        nothing = dict.fromkeys(_QUANTITIES, float("nan"))
        if not self.state:
            return {"global": nothing, "per_weight": {}, "samples": 0, "windows": 0}
        if self.window is None and ops.convert_to_numpy(self._counts)[1] >= 1:
            self._finish(self._counts.value)
        sums, counts = (
            ops.convert_to_numpy(v).astype("float64")
            for v in (self._full_sums, self._full_counts)
        )
        columns = [*sums.T, sums.sum(axis=1)]
        read = [_quantities(c, counts) if counts[3] else nothing for c in columns]
        return {
            "global": read[-1],
            "per_weight": dict(zip(self._paths, read[:-1], strict=True)),
            "samples": int(counts[0]),
            "windows": int(counts[3]),
        }


def _sums(mean: Tensor, variance: Tensor) -> Tensor:
    """Sums over a weight: variance, squared mean, their ratio, and where it exists."""
    square = ops.square(mean)
    varies = variance > _SMALLEST_VARIANCE * square
    ratio = ops.where(varies, square / ops.where(varies, variance, 1.0), 0.0)
    parts = (variance, square, ratio, ops.cast(varies, "float32"))
    return ops.stack([ops.sum(part) for part in parts])


def _quantities(sums: np.ndarray, counts: np.ndarray) -> dict[str, float]:
    noise, square, ratio, elements = sums
    samples, degrees, updates, _ = counts
    signal = square - noise / samples
    gsnr = float("nan")
    if degrees >= _FEWEST_DEGREES and elements > 0:
        # The mean of an F distribution is not 1, but this.
        expected = degrees / (degrees - 2.0)
        gsnr = ratio / elements / expected - 1.0 / samples
    snr = signal / noise if noise > 0 else float("nan")
    values = {
        "noise": noise,
        "signal": signal,
        "snr": snr * samples / updates,
        "noise_scale": noise / signal if noise > 0 and signal > 0 else float("nan"),
        "gsnr": gsnr,
        "diversity": (
            ((samples - 1.0) * noise / samples + square) / (samples * square)
            if square > 0
            else float("nan")
        ),
        "evidence": -samples * (gsnr if degrees >= _FEWEST_DEGREES else snr),
    }
    return {name: float(f"{value:.6g}") for name, value in values.items()}
