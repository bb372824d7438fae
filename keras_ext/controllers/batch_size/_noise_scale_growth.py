"""Batch sizes that follow the gradient noise scale."""

import math

from keras_ext.core._checks import is_integer, is_number, require


class NoiseScaleGrowth:
    """Grows the batch towards a multiple of the gradient noise scale.

    At a batch as large as the noise scale, the noise in the gradient is as strong as
    the signal. Early in training it is small and small batches are efficient; it grows
    as the loss falls. Factors are powers of two, at most double at one decision, and
    never shrink.

    Args:
        largest: Integer >= 1, the largest factor. Rounded down to a power of two.
            Defaults to `64`.
        fraction: Number > 0; the batch aims at this multiple of the noise scale.
            Defaults to `1.0`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras_ext as kx
        >>> policy = kx.controllers.batch_size.NoiseScaleGrowth(largest=8)
        >>> [policy.update(epoch=0, noise_scale=s) for s in (0.6, 3.1, 30.0, 30.0, 1.0)]
        [1, 2, 4, 8, 8]

    References:
        - [McCandlish et al., 2018](https://arxiv.org/abs/1812.06162)
    """

    def __init__(self, largest: int = 64, fraction: float = 1.0) -> None:
        require(
            is_integer(largest) and largest >= 1, "largest", largest, "an integer >= 1"
        )
        require(
            is_number(fraction) and fraction > 0, "fraction", fraction, "a number > 0"
        )
        self.largest = 2 ** int(math.log2(largest))
        self.fraction = fraction
        self._factor = 1

    def update(self, epoch: int, noise_scale: float = float("nan")) -> int:
        """Returns the factor for an epoch.

        Args:
            epoch: Ignored; only the measurement counts.
            noise_scale: The noise scale in units of the batch at factor 1. NaN, when
                it is not yet known, keeps the factor.

        Returns:
            A power of two: the present factor or its double.
        """
        wanted = self.fraction * noise_scale
        if is_number(wanted) and wanted >= 2 * self._factor:
            self._factor = min(2 * self._factor, self.largest)
        return self._factor
