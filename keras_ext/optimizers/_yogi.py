"""Adam whose second moment grows as fast as it falls."""

from collections.abc import Mapping
from typing import Unpack

import keras
from keras import ops

from keras_ext._core._checks import number
from keras_ext._core._typing import Tensor, Variable
from keras_ext._engine._adaptive_rule import AdaptiveRule, Corrected
from keras_ext._engine._rule_optimizer import (
    LearningRate,
    OptimizerOptions,
    Part,
    Slot,
)


@keras.saving.register_keras_serializable(package="keras_ext")
class Yogi(AdaptiveRule):
    """Adam that does not forget large gradients at once when small ones follow.

    The second moment moves towards the square of the gradient by a share of that
    square, not of the difference. So after gradients that come seldom the learning rate
    rises slowly, where that of Adam jumps.

    Args:
        learning_rate: A number >= 0, a `LearningRateSchedule`, or a function without
            arguments. Defaults to `0.01`.
        beta_1: Number in [0, 1), how much of the average of gradients is kept in an
            update. Defaults to `0.9`.
        beta_2: Number in [0, 1), one minus the share by which the second moment moves.
            Defaults to `0.999`.
        epsilon: Number > 0, added to the root mean square. Defaults to `0.001`.
        initial_accumulator_value: Number >= 0, what the second moment begins with.
            Defaults to `1e-06`.
        weight_decay: Number >= 0, the share of a weight that is taken off in an update,
            times the learning rate. None means none.
        **options: What every optimizer of Keras takes: `clipnorm`, `clipvalue`,
            `global_clipnorm`, `use_ema`, `ema_momentum`, `ema_overwrite_frequency`,
            `loss_scale_factor`, `gradient_accumulation_steps` and `name`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> weight = keras.Variable(1.0, name="weight")
        >>> optimizer = kx.optimizers.Yogi(0.1)
        >>> optimizer.apply([keras.ops.array(3.0)], [weight])
        >>> print(round(float(weight), 3))
        0.9

    References:
        - [Zaheer et al., 2018](https://papers.nips.cc/paper/8186)
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.01,
        *,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-3,
        initial_accumulator_value: float = 1e-6,
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
        self.initial_accumulator_value = number(
            initial_accumulator_value, "initial_accumulator_value", low=0
        )

    def slots(self, variable: Variable) -> Mapping[str, Slot]:
        return {
            "momentum": Slot(),
            "velocity": Slot(initial=self.initial_accumulator_value),
        }

    def change(self, part: Part, given: Corrected) -> Tensor:
        momentum = part.average("momentum", part.gradient, self.beta_1)
        square, old = ops.square(part.gradient), part.slots["velocity"]
        squares = old - ops.sign(old - square) * square * (1 - self.beta_2)
        part.slots["velocity"] = squares
        scale = given.rate * given.scale
        return momentum * (scale / (ops.sqrt(squares) + given.epsilon))
