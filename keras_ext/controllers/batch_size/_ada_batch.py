"""Batches that double at fixed intervals."""

from keras_ext._core._checks import integer, number
from keras_ext.controllers.batch_size._batch_size_policy import (
    BatchSizePolicy,
    Measured,
)


class AdaBatch(BatchSizePolicy):
    """Doubles the batch at intervals of epochs, and lowers the learning rate less.

    Where the schedule of small batches would multiply the learning rate by `decay`,
    the batch is doubled and the learning rate multiplied by `2 * decay`: learning rate
    over batch size, which sets the noise of SGD, takes the same course. When the
    batch is at its largest, the learning rate falls by all of `decay`.

    Args:
        every_epochs: Integer >= 1, the epochs between two doublings. Defaults to `20`.
        decay: Number in (0, 1], what the learning rate of a small batch would be
            multiplied by. Defaults to `0.375`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras_ext as kx
        >>> from keras_ext.controllers.batch_size import Measured
        >>> policy = kx.controllers.batch_size.AdaBatch(every_epochs=10)
        >>> late = Measured(batch_size=64, initial_batch_size=32, epoch=20)
        >>> policy.update(late), policy.learning_rate_gain(late, 128)
        (128, 0.5625)

    References:
        - [Devarakonda et al., 2017](https://arxiv.org/abs/1712.02029)
    """

    sets_learning_rate = True

    def __init__(self, every_epochs: int = 20, *, decay: float = 0.375) -> None:
        super().__init__()
        self.every_epochs = integer(every_epochs, "every_epochs", low=1)
        self.decay = number(decay, "decay", above=0, high=1)

    def update(self, measured: Measured) -> float:
        # A float overflows at 2 ** 1024; the largest size is reached long before.
        doublings = min(int(measured.epoch) // self.every_epochs, 1000)
        wanted = measured.initial_batch_size * 2**doublings
        return min(wanted, measured.max_batch_size)

    def learning_rate_gain(self, measured: Measured, batch_size: float) -> float | None:
        intervals = int(measured.epoch) // self.every_epochs
        return self.decay**intervals * batch_size / measured.initial_batch_size
