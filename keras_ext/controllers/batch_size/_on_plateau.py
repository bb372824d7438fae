"""Batches that grow when a metric stops improving."""

import math

from keras_ext._core._checks import require
from keras_ext.controllers.batch_size._batch_size_policy import (
    BatchSizePolicy,
    Measured,
)
from keras_ext.controllers.continuous._plateau import Plateau


class OnPlateau(BatchSizePolicy):
    """Doubles the batch when a logged value stops improving.

    What `ReduceLROnPlateau` does with the learning rate. Decide once per epoch; a
    value that is not logged, or not finite, is not counted.

    Args:
        monitor: Name of the logged value. Defaults to `"val_loss"`.
        patience: Integer >= 1, the decisions without improvement before a doubling.
            Defaults to `3`.
        cooldown: Integer >= 0, the decisions after a doubling that are not counted.
            Defaults to `0`.
        min_delta: Number >= 0; what differs less from the best is no improvement.
            Defaults to `0.0`.
        mode: `"min"` if less is better, or `"max"`. Defaults to `"min"`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras_ext as kx
        >>> from keras_ext.controllers.batch_size import Measured
        >>> policy = kx.controllers.batch_size.OnPlateau("loss", patience=2)
        >>> [policy.update(Measured(32, 32, logs={"loss": loss}))
        ...  for loss in (3.0, 2.0, 2.0, 2.0)]
        [32, 32, 32, 64]
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        *,
        patience: int = 3,
        cooldown: int = 0,
        min_delta: float = 0.0,
        mode: str = "min",
    ) -> None:
        super().__init__()
        require(
            isinstance(monitor, str) and monitor != "",
            "monitor",
            monitor,
            "a non-empty text",
        )
        self.monitor = monitor
        self._plateau = Plateau(
            2, patience=patience, cooldown=cooldown, min_delta=min_delta, mode=mode
        )

    def update(self, measured: Measured) -> float:
        value = measured.log(self.monitor)
        if math.isnan(value):
            return measured.batch_size
        return int(self._plateau.update(value)) * measured.batch_size
