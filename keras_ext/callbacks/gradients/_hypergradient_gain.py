"""Learning rates that follow the angle between gradients and the last steps."""

from collections.abc import Mapping, Sequence

import numpy as np
from keras import ops

from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._typing import Tensor, Variable
from keras_ext._engine._gradient_transform import GradientTransform
from keras_ext._engine._update_scale import UpdateScale


class HypergradientGain(GradientTransform, UpdateScale):
    """Multiplies learning rates by `1 + step * cosine`, update by update.

    The cosine is that of the angle between the last move of the weights and the way
    down from where it has led to. Before an update the gradients are looked at, which
    stay as they are; after it the moves are scaled.

    Args:
        step: How much the angle counts.
        per: `"global"` or `"layer"`, what has a rate of its own.
        limits: The smallest and the largest number to multiply by.
    """

    def __init__(self, step: float, per: str, limits: tuple[float, float]) -> None:
        super().__init__()
        self._step, self._per, self._limits = step, per, limits
        self.names: list[str] = []

    def build(
        self, variables: Sequence[Variable], unit_axes: Mapping[str, Axes]
    ) -> None:
        super().build(variables, unit_axes)
        of = [self._name(v) for v in variables]
        self.names = list(dict.fromkeys(of))
        self._place = {
            id(v): self.names.index(n) for v, n in zip(variables, of, strict=True)
        }
        count = len(self.names)
        self._gains = self.add_state((count,), "gains", np.ones(count, "float32"))
        self._moves = {id(v): self.add_state(v.shape, "last_move") for v in variables}

    def _name(self, variable: Variable) -> str:
        if self._per == "global":
            return "global"
        return str(variable.path).rpartition("/")[0] or str(variable.path)

    @property
    def gains(self) -> dict[str, float]:
        """What the rates are multiplied by now; on the host."""
        if not self.names:
            return {}
        values = ops.convert_to_numpy(self._gains).tolist()
        return dict(zip(self.names, values, strict=True))

    def transform(
        self, gradients: Sequence[Tensor], variables: Sequence[Variable]
    ) -> Sequence[Tensor]:
        sums = [[ops.zeros(())] * 3 for _ in self.names]
        for gradient, variable in zip(gradients, variables, strict=True):
            place = self._place[id(variable)]
            g = ops.cast(gradient, "float32")
            move = self._moves[id(variable)].value
            # A move of SGD is against the gradient, hence the sign.
            products = (-ops.sum(g * move), ops.sum(g * g), ops.sum(move * move))
            sums[place] = [a + b for a, b in zip(sums[place], products, strict=True)]
        dots, squares, lengths = (ops.stack(list(x)) for x in zip(*sums, strict=True))
        # Zero before the first move, and where there is no gradient.
        size = ops.sqrt(squares) * ops.sqrt(lengths)
        cosines = ops.where(size > 0, dots / ops.where(size > 0, size, 1.0), 0.0)
        gains = self._gains.value * (1.0 + self._step * cosines)
        self._gains.assign(ops.clip(gains, *self._limits))
        return gradients

    def factor(self, variable: Variable, move: Tensor, learning_rate: Tensor) -> Tensor:
        self._moves[id(variable)].assign(ops.cast(move, "float32"))
        return self._gains.value[self._place[id(variable)]]
