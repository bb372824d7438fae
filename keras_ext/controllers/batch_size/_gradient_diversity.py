"""Batch sizes up to the diversity of the gradients."""

from keras_ext._core._checks import number
from keras_ext.controllers.batch_size._batch_size_policy import (
    BatchSizePolicy,
    Measured,
)


class GradientDiversity(BatchSizePolicy):
    """Grows the batch up to a fraction of the diversity of the sample gradients.

    Diversity is the sum of the squared norms of the sample gradients over the squared
    norm of their sum, here times the number of samples. As long as the batch is much
    smaller, a step on a batch does as much as one step on each of its samples. The
    diversity is one more than the gradient noise scale.

    Args:
        fraction: Number > 0, the part of the diversity that is wanted as batch size.
            Defaults to `1.0`.
        shrink: Whether the batch may also be halved, when at most half of it is
            wanted. Defaults to `False`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras_ext as kx
        >>> from keras_ext.controllers.batch_size import Measured
        >>> policy = kx.controllers.batch_size.GradientDiversity(0.5)
        >>> policy.wanted(Measured(8, 8, signal=1.0, noise=99.0))
        50.0

    References:
        - [Yin et al., 2018](https://arxiv.org/abs/1706.05699)
    """

    needs = frozenset({"noise"})
    doubles_at = 2.0

    def __init__(self, fraction: float = 1.0, *, shrink: bool = False) -> None:
        super().__init__(shrink)
        self.fraction = number(fraction, "fraction", above=0)

    def wanted(self, measured: Measured) -> float:
        # The diversity of n samples, n * sum(|g|**2) / |sum(g)|**2, is one plus noise /
        # signal.
        return self.fraction * (1.0 + measured.noise_scale)
