"""Batches that grow where the learning rate would fall."""

from keras_ext._core._checks import is_number
from keras_ext.controllers.batch_size._batch_size_policy import (
    BatchSizePolicy,
    Measured,
)


class DontDecayLearningRate(BatchSizePolicy):
    """Turns the decay of the learning rate into growth of the batch.

    The noise of SGD is proportional to the learning rate over the batch size. So when
    the optimizer's own learning rate, whatever its schedule, falls to a fraction of its
    peak, the batch grows by the inverse, and the learning rate stays at its peak. Once
    the batch is at its largest, the learning rate falls instead. A warm-up stays a
    warm-up. The decay of `ReduceLROnPlateau` also becomes growth.

    A schedule is read at the number of updates that the initial batch size would have
    made.

    Examples:
        >>> import keras_ext as kx
        >>> from keras_ext.controllers.batch_size import Measured
        >>> policy = kx.controllers.batch_size.DontDecayLearningRate()
        >>> [policy.update(Measured(32, 32, 128, learning_rate=rate))
        ...  for rate in (0.05, 0.1, 0.05, 0.01)]
        [32.0, 32.0, 64.0, 128.0]

    References:
        - [Smith et al., 2018](https://arxiv.org/abs/1711.00489)
    """

    sets_learning_rate = True

    def __init__(self) -> None:
        super().__init__()
        self._peak = 0.0

    def update(self, measured: Measured) -> float:
        rate = measured.learning_rate
        if not is_number(rate):
            return measured.batch_size
        self._peak = max(self._peak, rate)
        # A schedule may begin at zero, and end there.
        fraction = rate / self._peak if rate < self._peak else 1.0
        size = measured.max_batch_size
        # Asked in this way, since the fraction may be 0.
        if fraction * size > measured.initial_batch_size:
            size = measured.initial_batch_size / fraction
        return max(size, measured.batch_size)

    def learning_rate_gain(self, measured: Measured, batch_size: float) -> float | None:
        return batch_size / measured.initial_batch_size
