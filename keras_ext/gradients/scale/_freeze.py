"""Weights that rest, and can be woken while training."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._checks import flag, require
from keras_ext._core._pattern import check_pattern, matches
from keras_ext._core._typing import Config, Pattern, Tensor, Variable
from keras_ext._engine._update_scale import UpdateScale


@keras.saving.register_keras_serializable(package="keras_ext")
class Freeze(UpdateScale):
    """Keeps chosen weights as they are, until they are thawed.

    Whatever the optimizer does to a frozen weight is undone, including the effect of
    momentum and of weight decay: the weight keeps every bit. `freeze` and `thaw` act
    while the compiled step keeps running, from the next update on. Use it to train a
    new head on a pretrained model first and the rest later; `GradualUnfreezing` does so
    in an existing training loop.

    `layer.trainable = False`, followed by `compile`, is cheaper: then no gradient is
    computed. Here it is, and the optimizer keeps averaging it, so that Adam knows the
    size of the gradient when a weight is thawed. (With empty averages, its first steps
    would be as long as the learning rate, whatever the gradient.) Momentum pushes at
    once in the direction of the last gradients. Rules that compare gradients of several
    weights, such as a global norm, count those of frozen weights.

    The moving statistics of `BatchNormalization` do not belong to the optimizer and
    keep moving. It cannot be combined with the optimizer's `use_ema`.

    Args:
        include: Which variables can be frozen: a regular expression that is searched
            in `variable.path`, a list of them, or a function. None means all.
        exclude: Which cannot, in the same form. None means none.
        frozen: Whether they are so at the start. Defaults to `True`.

    Raises:
        ValueError: If an argument is not of this form, or a pattern for `freeze` or
            `thaw` fits none of the variables.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> rest = kx.gradients.Freeze(include="body")
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.SGD(1.0), [rest]
        ... )
        >>> body = keras.Variable([1.0], name="body")
        >>> head = keras.Variable([1.0], name="head")
        >>> gradients = [keras.ops.ones(1), keras.ops.ones(1)]
        >>> optimizer.apply(gradients, [body, head])
        >>> print(body.numpy(), head.numpy(), rest.is_frozen(body))
        [1.] [0.] True
        >>> rest.thaw("body")
        >>> optimizer.apply(gradients, [body, head])
        >>> print(body.numpy(), head.numpy(), rest.is_frozen(body))
        [0.] [-1.] False
    """

    is_whole: ClassVar[bool] = True

    def __init__(
        self,
        *,
        include: Pattern = None,
        exclude: Pattern = None,
        frozen: bool = True,
    ) -> None:
        super().__init__(include=include, exclude=exclude)
        self.frozen = flag(frozen, "frozen")
        # What was asked for before there were variables.
        self._asked: list[tuple[Pattern, bool]] = []
        self._chosen: list[Variable] = []
        self._place: dict[int, int] = {}
        self._mask: Any = None

    def build(
        self, variables: Sequence[Variable], unit_axes: Mapping[str, Axes]
    ) -> None:
        super().build(variables, unit_axes)
        self._chosen = self.chosen(variables)
        self._place = {id(v): i for i, v in enumerate(self._chosen)}
        self._total = sum(math.prod(v.shape) for v in variables)
        mask: np.ndarray = np.full(len(self._chosen), float(self.frozen), "float32")
        for pattern, frozen in self._asked:
            self._mark(mask, pattern, frozen)
        self._mask = self.add_state(mask.shape, "frozen", initial=mask)

    def freeze(self, pattern: Pattern = None) -> None:
        """Freezes the weights that `pattern` fits.

        Args:
            pattern: In the form of `include`. None means all that can be frozen.
        """
        self._set(pattern, frozen=True)

    def thaw(self, pattern: Pattern = None) -> None:
        """Lets the weights move again that `pattern` fits.

        Args:
            pattern: In the form of `include`. None means all that can be frozen.
        """
        self._set(pattern, frozen=False)

    def is_frozen(self, variable: Variable) -> bool:
        """Whether a weight of the model is frozen; on the host, between updates."""
        place = self._place.get(id(variable)) if self._mask is not None else None
        return place is not None and bool(self._present()[place])

    @property
    def frozen_fraction(self) -> float:
        """The share of all numbers in the weights that are frozen now.

        It is that of the weights that this transform was built for, and 0 before.
        """
        if self._mask is None:
            return 0.0
        sizes = [math.prod(v.shape) for v in self._chosen]
        return float(np.dot(sizes, self._present()) / self._total)

    def _set(self, pattern: Pattern, frozen: bool) -> None:
        check_pattern("pattern", pattern)
        if self._mask is None:
            self._asked.append((pattern, frozen))
            return
        mask = self._present()
        self._mark(mask, pattern, frozen)
        self._mask.assign(mask)

    def _present(self) -> np.ndarray:
        return np.array(ops.convert_to_numpy(self._mask))

    def _mark(self, mask: np.ndarray, pattern: Pattern, frozen: bool) -> None:
        places = [
            i
            for i, v in enumerate(self._chosen)
            if pattern is None or matches(pattern, v)
        ]
        paths = [v.path for v in self._chosen]
        require(bool(places), "pattern", pattern, f"one that fits one of {paths}")
        mask[places] = float(frozen)

    def factor(self, variable: Variable, move: Tensor, learning_rate: Tensor) -> Tensor:
        return 1.0 - self._mask.value[self._place[id(variable)]]

    def get_config(self) -> Config:
        return {**super().get_config(), "frozen": self.frozen}
