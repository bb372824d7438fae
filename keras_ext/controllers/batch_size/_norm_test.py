"""Batches that keep the error of the gradient below a fraction of it."""

from keras_ext._core._checks import number
from keras_ext.controllers.batch_size._batch_size_policy import (
    BatchSizePolicy,
    Measured,
)


class NormTest(BatchSizePolicy):
    """Grows the batch until the noise in its gradient is small against the gradient.

    The test is `noise / batch_size <= theta**2 * squared_norm`, where `squared_norm` is
    the one that the gradient of the batch has, noise included. While it fails, the
    batch doubles. (In the paper the batch jumps to the size at which the test would
    pass.) That is at `(1 - theta**2) / theta**2` times the gradient noise scale: a
    quarter of it with the default, 3 times with 0.5, and 99 times with 0.1.

    Args:
        theta: Number > 0, the relative error allowed. The paper leaves it open, below
            1; from 1 on the test passes almost always. Defaults to `0.9`.
        shrink: Whether the batch may also be halved, when a quarter of it would do.
            Defaults to `False`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras_ext as kx
        >>> from keras_ext.controllers.batch_size import Measured
        >>> policy = kx.controllers.batch_size.NormTest(theta=0.5)
        >>> policy.wanted(Measured(20, 20, signal=10.0, noise=200.0))
        40.0
        >>> policy.update(Measured(20, 20, signal=10.0, noise=200.0))
        40

    References:
        - [Byrd et al., 2012](https://doi.org/10.1007/s10107-012-0572-5)
    """

    needs = frozenset({"noise"})

    def __init__(self, theta: float = 0.9, *, shrink: bool = False) -> None:
        super().__init__(shrink)
        self.theta = number(theta, "theta", above=0)

    def wanted(self, measured: Measured) -> float:
        norm = measured.squared_norm
        if not norm > 0 or not measured.noise > 0:
            return float("nan")
        return measured.noise / (self.theta**2 * norm)
