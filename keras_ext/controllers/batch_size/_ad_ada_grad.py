"""Batch sizes for optimizers that adapt to each weight."""

import math

from keras_ext._core._checks import choice, number
from keras_ext.controllers.batch_size._batch_size_policy import (
    BatchSizePolicy,
    Measured,
)


class AdAdaGrad(BatchSizePolicy):
    """Grows the batch for AdaGrad, Adam and their kin by the noise of the gradient.

    With `per="norm"` (AdAdaGrad-Norm) it is `NormTest` with a stricter default. With
    `per="element"` every element of the gradient is tested, as these optimizers scale
    every element: its noise over the batch size is to be at most `eta` squared times
    its square, on average over the elements. (In the paper every single element has
    to pass; in a network some elements are always nothing but noise.)

    Args:
        eta: Number > 0, the relative error allowed. The code of the authors has 0.1 for
            MNIST and ImageNet, and 0.25 or 0.5 for CIFAR. Defaults to `0.1`.
        rule: `"norm"` or `"element"`. Defaults to `"norm"`.
        shrink: Whether the batch may also be halved, when a quarter of it would do.
            Defaults to `False`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras_ext as kx
        >>> from keras_ext.controllers.batch_size import Measured
        >>> policy = kx.controllers.batch_size.AdAdaGrad(eta=0.5)
        >>> policy.wanted(Measured(20, 20, signal=10.0, noise=200.0))
        40.0

    References:
        - [Lau et al., 2024](https://arxiv.org/abs/2402.11215)
    """

    def __init__(
        self, eta: float = 0.1, *, rule: str = "norm", shrink: bool = False
    ) -> None:
        super().__init__(shrink)
        self.eta = number(eta, "eta", above=0)
        self.rule = choice(rule, "rule", ("norm", "element"))

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset({"noise" if self.rule == "norm" else "gsnr"})

    def wanted(self, measured: Measured) -> float:
        if self.rule == "norm":
            norm = measured.squared_norm
            known = norm > 0 and measured.noise > 0
            return measured.noise / (self.eta**2 * norm) if known else math.nan
        if math.isnan(measured.gsnr):
            return math.nan
        # What the noise of the present batch adds to the square, as in the norm test.
        square = measured.gsnr + 1.0 / measured.batch_size
        return 1.0 / (self.eta**2 * square) if square > 0 else math.inf
