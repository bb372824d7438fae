"""Clipping to a percentile of the norms so far."""

from collections.abc import Sequence

import keras
from keras import ops

from keras_ext._core._checks import integer, number
from keras_ext._core._typing import Config, Pattern, Tensor, Variable
from keras_ext._engine._clip_by_group_norm import ClipByGroupNorm
from keras_ext._live._hyper_variable import HyperVariable


@keras.saving.register_keras_serializable(package="keras_ext")
class AutoClip(ClipByGroupNorm):
    """Clips gradients to a percentile of the norms that they have had.

    The limit is the percentile of the last `history` norms, the present one included,
    as `numpy.percentile` gives it; so there is no length to be tuned, and the first
    update is never clipped. With the default, nine updates in ten are clipped and all
    have about the same length: the learning rate then sets the step, and may need
    retuning. A percentile of 90 or more only cuts off outliers.

    Norms of zero are left out of the history: a weight that had no gradient for a
    while is not held at zero when it gets one.

    Args:
        percentile: Number in [0, 100]. A `HyperVariable` that may change while
            training. Defaults to `10.0`.
        history: Integer >= 1, how many updates are remembered. Each norm takes four
            bytes, and they are sorted at every update; with `per="unit"` that is
            much. Defaults to `1000`.
        per: What has a norm, and a history: `"unit"`, `"tensor"`, `"layer"` or
            `"global"`, as in `ClipByGroupNorm`. Defaults to `"global"`.
        include: Which variables are clipped: a regular expression that is searched
            in `variable.path`, a list of them, or a function. None means all.
        exclude: Which are not, in the same form. None means none.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> clip = kx.gradients.AutoClip(percentile=50.0)
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.SGD(1.0), [clip]
        ... )
        >>> kernel = keras.Variable([0.0], name="kernel")
        >>> for gradient in (3.0, 5.0, 1000.0):  # the medians are 3, 4 and 5
        ...     optimizer.apply([keras.ops.array([gradient])], [kernel])
        ...     print(kernel.numpy().round(2))
        [-3.]
        [-7.]
        [-12.]

    References:
        - [Seetharaman et al., 2020](https://arxiv.org/abs/2007.14469)
    """

    def __init__(
        self,
        percentile: float = 10.0,
        *,
        history: int = 1000,
        per: str = "global",
        include: Pattern = None,
        exclude: Pattern = None,
    ) -> None:
        super().__init__(per=per, include=include, exclude=exclude)
        self.percentile = HyperVariable(
            number(percentile, "percentile", low=0, high=100),
            "percentile",
            bounds=(0.0, 100.0),
        )
        self.history = integer(history, "history", low=1)

    def build_state(self, num_groups: int) -> None:
        # Zero is no norm: neither the places that are still free, nor a gradient of 0.
        self._norms = self.add_state((self.history, num_groups), "norms")
        self._next = self.add_state((), "next")

    def limits(self, norms: Tensor, variables: Sequence[Variable]) -> Tensor:
        place = self._next.value
        rows = ops.reshape(ops.arange(self.history, dtype="float32"), (-1, 1))
        # The present norm is one of those that the percentile is taken of.
        known = ops.where(ops.equal(rows, place), norms, self._norms.value)
        self._norms.assign(known)
        # The place and not a count, which float32 would not hold for ever.
        self._next.assign(ops.mod(place + 1.0, self.history))
        return _percentiles(known, self.percentile.value)

    def get_config(self) -> Config:
        return {
            "percentile": float(self.percentile),
            "history": self.history,
            **super().get_config(),
        }


def _percentiles(rows: Tensor, percentile: Tensor) -> Tensor:
    """The percentiles of the columns, of what is not zero in them."""
    last = rows.shape[0] - 1
    count = ops.sum(ops.cast(rows > 0, "float64"), axis=0)
    # In float32, the rank of 1 in 1000 norms would have four digits behind the point.
    rank = ops.cast(percentile, "float64") / 100.0 * (count - 1.0)
    whole = ops.floor(rank)
    fraction = ops.cast(rank - whole, rows.dtype)
    # The zeros come first.
    place = ops.cast(last + 1.0 - count + whole, "int32")
    ordered = ops.sort(rows, axis=0)
    below, above = (
        ops.take_along_axis(ordered, ops.clip(place + i, 0, last)[None], axis=0)[0]
        for i in (0, 1)
    )
    return below + fraction * (above - below)
