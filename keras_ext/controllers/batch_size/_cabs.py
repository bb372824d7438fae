"""Batch sizes coupled to the learning rate."""

import math

from keras_ext._core._checks import number
from keras_ext.controllers.batch_size._batch_size_policy import (
    BatchSizePolicy,
    Measured,
)


class CABS(BatchSizePolicy):
    """Couples the batch size to the learning rate (Coupled Adaptive Batch Size).

    The wanted size is learning rate times noise over loss: that with the largest
    guaranteed decrease of the loss per sample, for SGD without momentum, if the
    learning rate is the inverse of the curvature. The smallest loss possible counts
    as 0.

    Args:
        scale: Number > 0, what to multiply the wanted size by. Defaults to `1.0`.
        min_loss: Number, the smallest loss that is possible. Defaults to `0.0`.
        shrink: Whether the batch may also be halved, when at most half of it is
            wanted. Defaults to `True`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras_ext as kx
        >>> from keras_ext.controllers.batch_size import Measured
        >>> policy = kx.controllers.batch_size.CABS()
        >>> policy.wanted(
        ...     Measured(32, 32, noise=500.0, learning_rate=0.1, logs={"loss": 0.5})
        ... )
        100.0

    References:
        - [Balles et al., 2017](https://arxiv.org/abs/1612.05086)
    """

    needs = frozenset({"noise"})
    doubles_at = 2.0

    def __init__(
        self, scale: float = 1.0, *, min_loss: float = 0.0, shrink: bool = True
    ) -> None:
        super().__init__(shrink)
        self.scale = number(scale, "scale", above=0)
        self.min_loss = number(min_loss, "min_loss")

    def wanted(self, measured: Measured) -> float:
        rate = measured.learning_rate * measured.gain
        loss = measured.log("loss") - self.min_loss
        if not measured.noise > 0 or not loss > 0:
            return math.nan
        return self.scale * rate * measured.noise / loss
