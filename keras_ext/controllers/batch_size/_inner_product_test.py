"""Batches whose gradient is, most likely, a direction of descent."""

import math

from keras_ext._core._checks import number
from keras_ext.controllers.batch_size._batch_size_policy import (
    BatchSizePolicy,
    Measured,
)


class InnerProductTest(BatchSizePolicy):
    """Grows the batch until its gradient points the right way.

    It asks less than `NormTest`: only the part of the noise along the gradient counts,
    which decides whether a step descends. The variance of the inner product of a
    sample gradient with the gradient, over the batch size, is to be at most `theta`
    squared times the squared mean of that product. In addition, the noise at right
    angles to the gradient, over the batch size, is to be at most `nu` squared times
    the squared norm of the gradient.

    The gradient that the inner products are taken with is that of an update of the
    recent past, so that it does not contain the noise of the samples that are tested.
    (In the paper it is that of the samples themselves.) The defaults are the values of
    the paper as later work quotes and uses them (Espath et al.); stricter ones, as
    `theta=0.5` and `nu=1` for CIFAR-100 in the code of AdAdaGrad, grow the batch
    earlier.

    Args:
        theta: Number > 0, the relative error allowed along the gradient.
            Defaults to `0.9`.
        nu: Number > 0, the relative error allowed at right angles to it. None leaves
            this test out. Defaults to `5.84`, about the tangent of 80 degrees.
        shrink: Whether the batch may also be halved, when a quarter of it would do.
            Defaults to `False`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras_ext as kx
        >>> from keras_ext.controllers.batch_size import Measured
        >>> policy = kx.controllers.batch_size.InnerProductTest(theta=0.5, nu=None)
        >>> policy.wanted(
        ...     Measured(32, 32, projection=2.0, projection_variance=100.0)
        ... )
        100.0

    References:
        - [Bollapragada et al., 2018](https://arxiv.org/abs/1710.11258)
        - [Espath et al., 2021](https://arxiv.org/abs/2109.10933)
    """

    def __init__(
        self, theta: float = 0.9, *, nu: float | None = 5.84, shrink: bool = False
    ) -> None:
        super().__init__(shrink)
        self.theta = number(theta, "theta", above=0)
        self.nu = number(nu, "nu", above=0, optional=True)

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset({"projection"} if self.nu is None else {"projection", "noise"})

    def wanted(self, measured: Measured) -> float:
        along = _ratio(
            measured.projection_variance, self.theta**2 * measured.projection**2
        )
        if self.nu is None or math.isnan(along):
            return along
        norm = measured.squared_norm
        if not norm > 0:
            return along
        # The direction has about the norm of the gradient of a batch.
        across = max(measured.noise - measured.projection_variance / norm, 0.0)
        return max(along, across / (self.nu**2 * norm))


def _ratio(variance: float, square: float) -> float:
    """Their ratio; infinite if there is noise and nothing else, NaN if unknown."""
    if square > 0:
        return variance / square
    return math.inf if variance > 0 and square == 0 else math.nan
