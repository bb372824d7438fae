"""The base of Adams whose rate is an estimate of the distance to the solution."""

from collections.abc import Mapping
from typing import Unpack

from keras import ops

from keras_ext._core._checks import number
from keras_ext._core._typing import Tensor, Variable
from keras_ext._engine._adaptive_rule import AdaptiveRule
from keras_ext._engine._measured_rule import MeasuredRule
from keras_ext._engine._rule_optimizer import (
    LearningRate,
    Now,
    OptimizerOptions,
    Slot,
)


class DistanceEstimate(MeasuredRule, AdaptiveRule):
    """Adam whose rate is multiplied by a distance, which `decide` lets grow.

    Beside the averages of Adam it keeps a sum of gradients of each weight, and a
    numerator of the estimate.

    Args:
        learning_rate: As in `RuleOptimizer`, a multiple of the distance.
        initial_distance: Number > 0, the first distance.
        beta_1: As in `AdaptiveRule`, as are `beta_2` and `epsilon`.
        beta_2: See there.
        epsilon: See there.
        weight_decay: As in `RuleOptimizer`.
        options: See `OptimizerOptions`.
    """

    def __init__(
        self,
        learning_rate: LearningRate,
        *,
        initial_distance: float,
        beta_1: float,
        beta_2: float,
        epsilon: float,
        weight_decay: float | None = None,
        **options: Unpack[OptimizerOptions],
    ) -> None:
        super().__init__(
            learning_rate,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            weight_decay=weight_decay,
            **options,
        )
        self.initial_distance = number(initial_distance, "initial_distance", above=0)

    @property
    def distance(self) -> Variable:
        """The estimate of the distance, a variable; there when built."""
        return self.number_of("distance")

    def slots(self, variable: Variable) -> Mapping[str, Slot]:
        return {**super().slots(variable), "gradient_sum": Slot()}

    def numbers(self) -> Mapping[str, float]:
        return {"distance": self.initial_distance, "numerator": 0.0}

    def rate_with_distance(self, now: Now) -> Tensor:
        """The rate times the distance, for averages that began at zero."""
        root = ops.sqrt(now.weight_of_averages(self.beta_2))
        rate = now.rate * now.numbers["distance"] * root
        return rate / now.weight_of_averages(self.beta_1)
