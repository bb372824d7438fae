"""SGD with weight decay that does not depend on the learning rate."""

from collections.abc import Mapping
from typing import Unpack

import keras
from keras import ops

from keras_ext._core._checks import flag, number
from keras_ext._core._typing import Tensor, Variable
from keras_ext._engine._measured_rule import divided
from keras_ext._engine._rule_optimizer import (
    LearningRate,
    Now,
    OptimizerOptions,
    Part,
    RuleOptimizer,
    Slot,
)


@keras.saving.register_keras_serializable(package="keras_ext")
class SGDW(RuleOptimizer):
    """SGD with momentum, and weight decay that is tuned apart from the learning rate.

    Keras multiplies `weight_decay` by the learning rate, so changing one changes both.
    Here `weight_decay` itself is the share that an update takes off. A schedule weakens
    it, in proportion: it is multiplied by the learning rate over the largest one so
    far.

    Args:
        learning_rate: A number >= 0, a `LearningRateSchedule`, or a function without
            arguments. Defaults to `0.01`.
        weight_decay: Number >= 0, the share of a weight that is taken off in an update
            at the largest learning rate. None means none. Defaults to `0.0001`.
        momentum: Number in [0, 1), how much of the last step is repeated.
            Defaults to `0.9`.
        nesterov: Whether the momentum is Nesterov's. Defaults to `False`.
        **options: What every optimizer of Keras takes: `clipnorm`, `clipvalue`,
            `global_clipnorm`, `use_ema`, `ema_momentum`, `ema_overwrite_frequency`,
            `loss_scale_factor`, `gradient_accumulation_steps` and `name`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> weight = keras.Variable(1.0, name="weight")
        >>> optimizer = kx.optimizers.SGDW(0.1, weight_decay=0.01)
        >>> optimizer.apply([keras.ops.array(2.0)], [weight])
        >>> print(round(float(weight), 3))
        0.79

    References:
        - [Loshchilov and Hutter, 2017](https://arxiv.org/abs/1711.05101)
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.01,
        *,
        weight_decay: float | None = 1e-4,
        momentum: float = 0.9,
        nesterov: bool = False,
        **options: Unpack[OptimizerOptions],
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, **options)
        self.momentum = number(momentum, "momentum", low=0, below=1)
        self.nesterov = flag(nesterov, "nesterov")

    def slots(self, variable: Variable) -> Mapping[str, Slot]:
        return {"momentum": Slot()}

    def numbers(self) -> Mapping[str, float]:
        return {"largest_rate": 0.0}

    def coefficients(self, now: Now) -> Tensor:
        rate = now.rate
        largest = ops.maximum(now.numbers["largest_rate"], rate)
        now.numbers["largest_rate"] = largest
        # By this, decay is multiplied.
        now.rate = divided(rate, by=largest, otherwise=0.0)
        return rate

    def change(self, part: Part, given: Tensor) -> Tensor:
        velocity = part.slots["momentum"] * self.momentum + part.gradient
        part.slots["momentum"] = velocity
        if self.nesterov:
            velocity = velocity * self.momentum + part.gradient
        return velocity * given
