"""Adam that does not divide a gradient by itself."""

from typing import NamedTuple, Unpack

import keras
from keras import ops

from keras_ext._core._typing import Tensor
from keras_ext._engine._adaptive_rule import AdaptiveRule
from keras_ext._engine._rule_optimizer import (
    LearningRate,
    Now,
    OptimizerOptions,
    Part,
)


class _Given(NamedTuple):
    rate: Tensor
    limit: Tensor
    beta_2: Tensor


@keras.saving.register_keras_serializable(package="keras_ext")
class ADOPT(AdaptiveRule):
    """Adam in another order, which converges whatever `beta_2` is.

    A gradient is divided by the root mean square of those before it, then averaged. In
    Adam it is part of what it is divided by, and so there are problems that Adam does
    not solve. The first gradient only sets the second moment: nothing moves. Quotients
    are clipped to the fourth root of the number of updates.

    Args:
        learning_rate: A number >= 0, a `LearningRateSchedule`, or a function without
            arguments. Defaults to `0.001`.
        beta_1: Number in [0, 1), how much of the average of gradients is kept in an
            update. Defaults to `0.9`.
        beta_2: Number in [0, 1), the same of the average of squares.
            Defaults to `0.9999`.
        epsilon: Number > 0, the smallest root mean square. Defaults to `1e-06`.
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
        >>> optimizer = kx.optimizers.ADOPT(0.1)
        >>> for _ in range(2):
        ...     optimizer.apply([keras.ops.array(3.0)], [weight])
        >>> print(round(float(weight), 3))  # a tenth of the rate, by the average
        0.99

    References:
        - [Taniguchi et al., 2024](https://arxiv.org/abs/2411.02853)
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        *,
        beta_1: float = 0.9,
        beta_2: float = 0.9999,
        epsilon: float = 1e-6,
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

    def coefficients(self, now: Now) -> _Given:
        is_first = ops.equal(now.step, 1)
        dtype = now.rate.dtype
        # Of the first update, the limit keeps the average at zero.
        limit = ops.cast(ops.power(now.step - 1, 0.25), dtype)
        # The second moment begins as the square of the first gradient.
        beta_2 = ops.where(is_first, ops.zeros((), dtype), self.beta_2)
        return _Given(now.rate, limit, beta_2)

    def change(self, part: Part, given: _Given) -> Tensor:
        # Of the gradients before this one: `velocity` takes it in only afterwards.
        root = ops.maximum(ops.sqrt(part.slots["velocity"]), self.epsilon)
        quotient = part.gradient / root
        clipped = ops.minimum(ops.maximum(quotient, -given.limit), given.limit)
        part.average("velocity", ops.square(part.gradient), given.beta_2)
        return part.average("momentum", clipped, self.beta_1) * given.rate
