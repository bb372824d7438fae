"""Momentum of gradients that are divided by their norms."""

from collections.abc import Mapping, Sequence
from typing import Unpack

import keras
from keras import ops

from keras_ext._core._typing import Tensor, Variable
from keras_ext._engine._adaptive_rule import AdaptiveRule
from keras_ext._engine._measured_rule import MeasuredRule, half_square
from keras_ext._engine._rule_optimizer import (
    LearningRate,
    Now,
    OptimizerOptions,
    Part,
    Slot,
)


@keras.saving.register_keras_serializable(package="keras_ext")
class NovoGrad(MeasuredRule, AdaptiveRule):
    """Adam with one second moment for each weight tensor, half of its memory.

    The gradient of a weight is divided by a moving root mean square of its norm, then
    its decay is added, then comes momentum. It is robust to the learning rate and does
    without warm-up.

    Args:
        learning_rate: A number >= 0, a `LearningRateSchedule`, or a function without
            arguments. Defaults to `0.001`.
        beta_1: Number in [0, 1), how much of the last step is repeated.
            Defaults to `0.95`.
        beta_2: Number in [0, 1), how much of the average of squared norms is kept in an
            update. Defaults to `0.98`.
        epsilon: Number > 0, added to the root. Defaults to `1e-08`.
        weight_decay: Number >= 0, the share of a weight that is added to its direction
            before the momentum. None means none.
        **options: What every optimizer of Keras takes: `clipnorm`, `clipvalue`,
            `global_clipnorm`, `use_ema`, `ema_momentum`, `ema_overwrite_frequency`,
            `loss_scale_factor`, `gradient_accumulation_steps` and `name`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> kernel = keras.Variable([[3.0], [4.0]], name="kernel")
        >>> optimizer = kx.optimizers.NovoGrad(0.1)
        >>> optimizer.apply([keras.ops.array([[30.0], [40.0]])], [kernel])
        >>> print(kernel.numpy().round(2).T)  # moved by 0.1
        [[2.94 3.92]]

    References:
        - [Ginsburg et al., 2019](https://arxiv.org/abs/1905.11286)
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        *,
        beta_1: float = 0.95,
        beta_2: float = 0.98,
        epsilon: float = 1e-8,
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

    def slots(self, variable: Variable) -> Mapping[str, Slot]:
        return {"momentum": Slot(), "velocity": Slot(())}

    def coefficients(self, now: Now) -> Tensor:
        return now.rate

    def measure(self, part: Part, given: Tensor) -> tuple[Tensor, ...]:
        return half_square(part.gradient), part.slots["velocity"]

    def decide(self, rows: Sequence[Tensor], now: Now, given: Tensor) -> Tensor:
        halves, old = rows
        squares = 2 * halves
        average = old + (squares - old) * (1 - self.beta_2)
        # The first one counts in full.
        return ops.where(ops.equal(old, 0), squares, average)

    def change(self, part: Part, given: Tensor) -> Tensor:
        part.slots["velocity"] = part.factor
        direction = part.gradient / (ops.sqrt(part.factor) + self.epsilon)
        if part.decay is not None:
            direction = direction + part.value * part.decay
        momentum = part.slots["momentum"] * self.beta_1 + direction
        part.slots["momentum"] = momentum
        return momentum * given

    def moved(self, part: Part, change: Tensor, now: Now) -> Tensor:
        return part.value - change  # The decay is in the direction.
