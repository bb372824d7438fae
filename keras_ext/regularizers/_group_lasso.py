"""Penalties that make whole groups of weights vanish."""

import math

import keras
from keras import ops

from keras_ext._core._checks import choice
from keras_ext._core._typing import Config, Tensor
from keras_ext.regularizers._l1_l2 import absolute_sum
from keras_ext.regularizers._live_regularizer import LiveRegularizer

GROUPS = ("unit", "input")


@keras.saving.register_keras_serializable(package="keras_ext")
class GroupLasso(LiveRegularizer):
    """Penalizes the norm of each group of weights, so that whole groups become small.

    Adds `strength * sum(sqrt(size) * norm(group))` to the loss, with the number of
    weights in a group, `size`. L1 thins out single weights; this thins out units, or
    inputs. As with every penalty in the loss, gradient descent brings groups near zero
    but seldom to it: take off what is below a threshold afterwards. The gradient at
    zero is zero.

    Args:
        strength: Number >= 0, the initial strength; it is live. Defaults to `0.01`.
        per: What a group of a kernel belongs to: `"unit"` for all weights of one
            unit or filter, in the last axis, to thin out a layer; `"input"` for all
            weights of one input feature or channel, in the axis before, to select
            features. Weights with one axis have groups of one. Defaults to `"unit"`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> regularizer = kx.regularizers.GroupLasso(1.0, per="input")
        >>> kernel = keras.ops.array([[3.0, 4.0], [0.0, 0.0]])
        >>> float(regularizer(kernel))  # sqrt(2) * 5
        7.07...

    References:
        - [Yuan and Lin, 2006](https://doi.org/10.1111/j.1467-9868.2005.00532.x)
        - [Scardapane et al., 2017](https://arxiv.org/abs/1607.00485), for networks
    """

    def __init__(self, strength: float = 0.01, *, per: str = "unit") -> None:
        self.strength = self.live("strength", strength)
        self.per = choice(per, "per", GROUPS)

    def __call__(self, x: Tensor) -> Tensor:
        return self.strength.value * norms_of_groups(x, self.per)

    def get_config(self) -> Config:
        return {**super().get_config(), "per": self.per}


@keras.saving.register_keras_serializable(package="keras_ext")
class SparseGroupLasso(LiveRegularizer):
    """Penalizes groups of weights and single weights at once.

    Adds `strength` times `(1 - l1_ratio) * sum(sqrt(size) * norm(group))` plus
    `l1_ratio * sum(abs(x))` to the loss: few groups, and few weights within those. Both
    numbers are live.

    Args:
        strength: Number >= 0, the initial strength. Defaults to `0.01`.
        l1_ratio: Number in [0, 1], the initial share of the penalty of single weights.
            Defaults to `0.5`.
        per: What a group belongs to, `"unit"` or `"input"`, as in
            `keras_ext.regularizers.GroupLasso`. Defaults to `"unit"`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> regularizer = kx.regularizers.SparseGroupLasso(1.0, l1_ratio=0.25)
        >>> kernel = keras.ops.array([[3.0], [4.0]])
        >>> float(regularizer(kernel))  # 0.75 * sqrt(2) * 5 + 0.25 * 7
        7.05...

    References:
        - [Simon et al., 2013](https://doi.org/10.1080/10618600.2012.681250)
        - [Scardapane et al., 2017](https://arxiv.org/abs/1607.00485), for networks
    """

    def __init__(
        self, strength: float = 0.01, *, l1_ratio: float = 0.5, per: str = "unit"
    ) -> None:
        self.strength = self.live("strength", strength)
        self.l1_ratio = self.live("l1_ratio", l1_ratio, 1.0, "logit")
        self.per = choice(per, "per", GROUPS)

    def __call__(self, x: Tensor) -> Tensor:
        ratio = self.l1_ratio.value
        groups = norms_of_groups(x, self.per)
        penalty = (1.0 - ratio) * groups + ratio * absolute_sum(x)
        return self.strength.value * penalty

    def get_config(self) -> Config:
        return {**super().get_config(), "per": self.per}


def norms_of_groups(x: Tensor, group: str) -> Tensor:
    """Sum over the groups of the norm times the root of the size."""
    ndim = len(x.shape)
    kept = ndim - 1 if group == "unit" or ndim == 1 else ndim - 2
    axes = tuple(i for i in range(ndim) if i != kept)
    squares = ops.sum(ops.square(ops.cast(x, "float32")), axis=axes)
    size = math.prod(x.shape[i] for i in axes)
    return math.sqrt(size) * ops.sum(safe_root(squares))


def safe_root(x: Tensor) -> Tensor:
    """The square root, with a gradient of 0 at 0 instead of an infinite one."""
    positive = x > 0
    # Not only the result is chosen: the infinite gradient, times 0, would be NaN.
    root = ops.sqrt(ops.where(positive, x, ops.ones_like(x)))
    return ops.where(positive, root, ops.zeros_like(x))
