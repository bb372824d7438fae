"""Adam by how far gradients are from what was expected."""

from typing import Unpack

import keras
from keras import ops

from keras_ext._core._typing import Tensor
from keras_ext._engine._adaptive_rule import AdaptiveRule, Corrected
from keras_ext._engine._rule_optimizer import LearningRate, OptimizerOptions, Part


@keras.saving.register_keras_serializable(package="keras_ext")
class AdaBelief(AdaptiveRule):
    """Adam that takes large steps where the gradient is what it expected.

    Steps are divided by the root of how far gradients are from their own average, and
    not of how large they are. So it moves fast along a slope that stays the same, and
    carefully where the sign of the gradient changes.

    Args:
        learning_rate: A number >= 0, a `LearningRateSchedule`, or a function without
            arguments. Defaults to `0.001`.
        beta_1: Number in [0, 1), how much of the average of gradients is kept in an
            update. Defaults to `0.9`.
        beta_2: Number in [0, 1), the same of the average of squared surprises.
            Defaults to `0.999`.
        epsilon: Number > 0, added to the squared surprise and to its root.
            Defaults to `1e-16`.
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
        >>> optimizer = kx.optimizers.AdaBelief(0.01)
        >>> for _ in range(20):  # always the same gradient
        ...     optimizer.apply([keras.ops.array(0.5)], [weight])
        >>> print(round(float(weight), 2))  # Adam would be at 0.8
        0.67

    References:
        - [Zhuang et al., 2020](https://arxiv.org/abs/2010.07468)
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        *,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-16,
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

    def change(self, part: Part, given: Corrected) -> Tensor:
        momentum = part.average("momentum", part.gradient, self.beta_1)
        # From the average that has this gradient already, as in the paper.
        surprise = ops.square(part.gradient - momentum)
        squares = part.average("velocity", surprise, self.beta_2) + self.epsilon
        # The paper keeps epsilon in the average: it adds up over the updates.
        part.slots["velocity"] = squares
        scale = given.rate * given.scale
        return momentum * (scale / (ops.sqrt(squares) + given.epsilon))
