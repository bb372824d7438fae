"""Batch sizes that follow the gradient noise scale."""

from keras_ext._core._checks import number
from keras_ext.controllers.batch_size._batch_size_policy import (
    BatchSizePolicy,
    Measured,
)


class NoiseScale(BatchSizePolicy):
    """Grows the batch towards a multiple of the gradient noise scale.

    At a batch as large as the noise scale, the noise in the gradient is as strong as
    the signal: training to a given loss then takes about twice the fewest possible
    updates, and twice the fewest possible samples. Early in training the noise scale
    is small and small batches are efficient; it grows as the loss falls. The batch
    doubles when the wanted size is at least twice the present one.

    Args:
        fraction: Number > 0; the batch aims at this multiple of the noise scale.
            Defaults to `1.0`.
        shrink: Whether the batch may also be halved, when at most half of it is
            wanted. Defaults to `False`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras_ext as kx
        >>> from keras_ext.controllers.batch_size import Measured
        >>> policy = kx.controllers.batch_size.NoiseScale()
        >>> [policy.update(Measured(32, 32, signal=1.0, noise=n))
        ...  for n in (60.0, 64.0, 900.0)]
        [32, 64, 64]

    References:
        - [McCandlish et al., 2018](https://arxiv.org/abs/1812.06162)
    """

    needs = frozenset({"noise"})
    doubles_at = 2.0

    def __init__(self, fraction: float = 1.0, *, shrink: bool = False) -> None:
        super().__init__(shrink)
        self.fraction = number(fraction, "fraction", above=0)

    def wanted(self, measured: Measured) -> float:
        return self.fraction * measured.noise_scale
