"""The base of optimizers that divide by a root mean square, as Adam does."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Unpack

from keras import ops

from keras_ext._core._checks import number
from keras_ext._core._typing import Tensor, Variable
from keras_ext._engine._rule_optimizer import (
    LearningRate,
    Now,
    OptimizerOptions,
    RuleOptimizer,
    Slot,
)


class Corrected(NamedTuple):
    """With which averages that began at zero count in full.

    Attributes:
        rate: The learning rate.
        scale: What `momentum / (sqrt(velocity) + epsilon)` is multiplied by.
        epsilon: The one of that quotient.
    """

    rate: Tensor
    scale: Tensor
    epsilon: Tensor


class AdaptiveRule(RuleOptimizer):
    """Has the arguments of Adam, and keeps an average of gradients and one of squares.

    Args:
        learning_rate: As in `RuleOptimizer`.
        beta_1: Number in [0, 1), how much of the average of gradients is kept.
        beta_2: Number in [0, 1), how much of the average of squares is kept.
        epsilon: Number > 0, added to what is divided by.
        weight_decay: As in `RuleOptimizer`.
        options: See `OptimizerOptions`.
    """

    def __init__(
        self,
        learning_rate: LearningRate,
        *,
        beta_1: float,
        beta_2: float,
        epsilon: float,
        weight_decay: float | None = None,
        **options: Unpack[OptimizerOptions],
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, **options)
        self.beta_1 = number(beta_1, "beta_1", low=0, below=1)
        self.beta_2 = number(beta_2, "beta_2", low=0, below=1)
        self.epsilon = number(epsilon, "epsilon", above=0)

    def slots(self, variable: Variable) -> Mapping[str, Slot]:
        return {"momentum": Slot(), "velocity": Slot()}

    def coefficients(self, now: Now) -> Any:
        root = ops.sqrt(now.weight_of_averages(self.beta_2))
        scale = root / now.weight_of_averages(self.beta_1)
        return Corrected(now.rate, scale, self.epsilon * root)
