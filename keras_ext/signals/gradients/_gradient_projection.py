"""Sample gradients along the gradient."""

from collections.abc import Mapping, Sequence

import tensorflow as tf
from keras import ops

from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._checks import integer, number
from keras_ext._core._typing import Tensor, Variable
from keras_ext._engine._gradient_signal import GradientSignal, Update
from keras_ext._live._hyper_variable import HyperVariable


class GradientProjection(GradientSignal):
    """Estimates mean and variance of the gradient along its own direction.

    Once in `every` updates a copy of the gradient is kept, and the gradients of the
    next update, or the next two, are multiplied with it: the inner products of
    micro-batches when accumulating, of replicas when distributed, and otherwise of the
    two updates, have a mean, near the squared norm of the true gradient, and a
    variance. A batch descends on average if the first is large against the second.
    Since the copy comes from other samples, their noise does not add to the mean.

    The attribute `unit`, a `HyperVariable` that is 1 at first, multiplies the variance:
    assign it the number of samples in a micro-batch to get that of a single sample.

    Args:
        every: Integer >= 3; measure at this update interval, and once in three until
            there are `min_samples` measurements. Defaults to `10`.
        smoothing: Number in [0, 1), the weight of the past in the averages.
            Defaults to `0.95`.
        min_samples: Integer >= 1; before this many measurements `read` returns NaN.
            Defaults to `10`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> projection = kx.signals.GradientProjection(every=3, min_samples=1)
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.SGD(0.0), signals=[projection]
        ... )
        >>> weight = keras.Variable([0.0], name="weight")
        >>> for gradient in (2.0, 1.0, 3.0):
        ...     optimizer.apply([keras.ops.array([gradient])], [weight])
        >>> mean, variance = projection.read()  # of 2 * 1 and 2 * 3
        >>> round(mean, 3), round(variance, 3)
        (4.0, 8.0)

    References:
        - [Bollapragada et al., 2018](https://arxiv.org/abs/1710.11258)
    """

    local_shapes = ((),)

    def __init__(
        self, every: int = 10, *, smoothing: float = 0.95, min_samples: int = 10
    ) -> None:
        super().__init__()
        self.every = integer(every, "every", low=3)
        self.smoothing = number(smoothing, "smoothing", low=0, below=1)
        self.min_samples = integer(min_samples, "min_samples", low=1)
        self.unit = HyperVariable(1.0, "unit", bounds=(0.0, None))

    def build(
        self, variables: Sequence[Variable], unit_axes: Mapping[str, Axes]
    ) -> None:
        # Averages of mean and variance, and their number.
        self._numbers = self.add_state((3,), "projection")
        # How many updates ago the direction was kept, 0 for none; the first product.
        self._waiting = self.add_state((2,), "waiting")
        self._direction = {
            id(v): self.add_state(v.shape, f"{v.name}_direction") for v in variables
        }
        self.unit.build()

    def _product(
        self, gradients: Sequence[Tensor], variables: Sequence[Variable]
    ) -> Tensor:
        """The inner product with the direction."""
        products = [
            ops.sum(ops.cast(g, "float32") * self._direction[id(v)].value)
            for g, v in zip(gradients, variables, strict=True)
        ]
        return tf.add_n(products)

    def measure_locally(
        self, gradients: Sequence[Tensor], variables: Sequence[Variable]
    ) -> Sequence[Tensor]:
        square = tf.cond(
            self._waiting.value[0] > 0,
            lambda: ops.square(self._product(gradients, variables)),
            lambda: tf.zeros(()),
        )
        return [square]

    def before_update(self, update: Update) -> None:
        waiting = self._waiting.value
        tf.cond(waiting[0] > 0, lambda: self._measure(update), lambda: None)
        # Nobody can act before enough is known: at first the pauses are as short as
        # they can be.
        is_new = self._numbers.value[2] < self.min_samples
        pause = ops.where(is_new, 3, self.every)
        is_due = ops.equal(ops.mod(update.iteration, pause), 0)
        tf.cond(is_due, lambda: self._keep(update), lambda: None)

    def _keep(self, update: Update) -> None:
        for gradient, variable in zip(update.gradients, update.variables, strict=True):
            self._direction[id(variable)].assign(gradient)
        self._waiting.assign(tf.constant([1.0, 0.0]))

    def _measure(self, update: Update) -> None:
        product = self._product(update.gradients, update.variables)
        if self not in update.local_sums:
            self._measure_successive(product)
            return
        (squares,) = update.local_sums[self]
        count = update.micro_batches

        def together() -> None:
            variance = (squares / count - ops.square(product)) * count / (count - 1.0)
            self._take_in(product, ops.maximum(variance, 0.0))

        tf.cond(count > 1, together, lambda: self._measure_successive(product))

    def _measure_successive(self, product: Tensor) -> None:
        age, first = ops.unstack(self._waiting.value)

        def compare() -> None:
            self._take_in((first + product) / 2.0, ops.square(first - product) / 2.0)

        def wait() -> None:
            self._waiting.assign(ops.stack([2.0, product]))

        tf.cond(age > 1, compare, wait)

    def _take_in(self, mean: Tensor, variance: Tensor) -> None:
        old = self._numbers.value
        new = ops.stack([mean, variance * self.unit.value])
        mixed = self.smoothing * old[:2] + (1.0 - self.smoothing) * new
        self._numbers.assign(ops.concatenate([mixed, old[2:] + 1.0]))
        self._waiting.assign(tf.zeros((2,)))

    def read(self) -> tuple[float, float]:
        """Fetches mean and variance of the inner product.

        Returns:
            Both of them; NaN while too little was measured.
        """
        if not self.state:
            return float("nan"), float("nan")
        numbers = ops.convert_to_numpy(self._numbers).astype("float64")
        mean, variance, samples = numbers
        if samples < self.min_samples:
            return float("nan"), float("nan")
        # The averages began at zero.
        weight = 1.0 - self.smoothing**samples
        return float(mean / weight), float(variance / weight)
