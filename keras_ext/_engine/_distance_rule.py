"""The base of optimizers whose rate is a distance over the gradients so far."""

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from keras import ops

from keras_ext._core._checks import number
from keras_ext._core._typing import Tensor, Variable
from keras_ext._engine._measured_rule import MeasuredRule, half_square, norms
from keras_ext._engine._rule_optimizer import (
    LearningRate,
    Now,
    OptimizerOptions,
    Part,
    Slot,
)


class DistanceRule(MeasuredRule):
    """SGD whose rate is the distance from the first weights over a sum of gradients.

    What `decide` gives is the rate, of one weight or of all; decay is multiplied by it.

    Args:
        learning_rate: As in `RuleOptimizer`, a multiple of that rate.
        epsilon: Number > 0, added to what is divided by.
        weight_decay: As in `RuleOptimizer`.
        options: See `OptimizerOptions`.
    """

    def __init__(
        self,
        learning_rate: LearningRate,
        *,
        epsilon: float,
        weight_decay: float | None,
        **options: Unpack[OptimizerOptions],
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, **options)
        self.epsilon = number(epsilon, "epsilon", above=0)

    def slots(self, variable: Variable) -> Mapping[str, Slot]:
        return {"start": Slot(initial=lambda variable: variable.value)}

    def measure(self, part: Part, given: Any) -> tuple[Tensor, ...]:
        way = half_square(part.value - part.slots["start"])
        return way, half_square(part.gradient)

    def share_of_norm(self, variables: Sequence[Variable], share: float) -> Tensor:
        """A first distance: a share of one plus the joint norm of weights."""
        halves = [half_square(ops.cast(v.value, "float32")) for v in variables]
        return share * (1 + norms(sum(halves)))

    def change(self, part: Part, given: object) -> Tensor:
        return part.factor * part.gradient

    def moved(self, part: Part, change: Tensor, now: Now) -> Tensor:
        if part.decay is None:
            return part.value - change
        return part.value * (1 - part.factor * part.decay) - change
