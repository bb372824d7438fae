"""Adam with a fast and a slow average of gradients."""

import math
from collections.abc import Mapping
from typing import NamedTuple, Unpack

import keras
from keras import ops

from keras_ext._core._checks import integer, number
from keras_ext._core._typing import Tensor, Variable
from keras_ext._engine._adaptive_rule import AdaptiveRule
from keras_ext._engine._rule_optimizer import (
    LearningRate,
    Now,
    OptimizerOptions,
    Part,
    Slot,
)


class _Given(NamedTuple):
    # What a step is multiplied by; in it the fast average counts in full.
    rate: Tensor
    # What the slow average is multiplied by, and how much of it is kept.
    alpha: Tensor
    beta_3: Tensor
    epsilon: Tensor


@keras.saving.register_keras_serializable(package="keras_ext")
class AdEMAMix(AdaptiveRule):
    """Adam that also remembers gradients of ten thousand updates ago.

    To the average of recent gradients a slow one is added, `alpha` times. Old gradients
    stay useful in long trainings, and weights forget less of early data. For short ones
    take a smaller `beta_3`. A slow average destabilizes the beginning of training;
    `warmup_steps` raises `alpha` and `beta_3` gradually, and should be the length of
    the training.

    Args:
        learning_rate: A number >= 0, a `LearningRateSchedule`, or a function without
            arguments. Defaults to `0.001`.
        beta_1: Number in [0, 1), how much of the average of gradients is kept in an
            update. Defaults to `0.9`.
        beta_2: Number in [0, 1), the same of the average of squares.
            Defaults to `0.999`.
        beta_3: Number in (0, 1), how much of the slow average is kept.
            Defaults to `0.9999`.
        alpha: Number >= 0, what the slow average is multiplied by.
            Defaults to `5.0`.
        epsilon: Number > 0, added to the root mean square. Defaults to `1e-08`.
        warmup_steps: Integer >= 1, the number of updates until `alpha` and `beta_3`
            have these values. None means from the beginning.
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
        >>> optimizer = kx.optimizers.AdEMAMix(0.1, beta_3=0.9, alpha=5.0)
        >>> optimizer.apply([keras.ops.array(3.0)], [weight])
        >>> print(round(float(weight), 3))  # 0.1 of Adam, and 5 * 0.1 of 0.1
        0.85

    References:
        - [Pagliardini et al., 2024](https://arxiv.org/abs/2409.03137)
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        *,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        beta_3: float = 0.9999,
        alpha: float = 5.0,
        epsilon: float = 1e-8,
        warmup_steps: int | None = None,
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
        self.beta_3 = number(beta_3, "beta_3", above=0, below=1)
        self.alpha = number(alpha, "alpha", low=0)
        self.warmup_steps = integer(warmup_steps, "warmup_steps", low=1, optional=True)

    def slots(self, variable: Variable) -> Mapping[str, Slot]:
        return {**super().slots(variable), "slow_momentum": Slot()}

    def coefficients(self, now: Now) -> _Given:
        alpha, beta_3 = self._warmed_up(now)
        root = ops.sqrt(now.weight_of_averages(self.beta_2))
        of_momentum = now.weight_of_averages(self.beta_1)
        rate = now.rate * root / of_momentum
        # Only the fast average is corrected in the paper: for the slow one, this takes
        # the division in `rate` back.
        return _Given(rate, alpha * of_momentum, beta_3, self.epsilon * root)

    def _warmed_up(self, now: Now) -> tuple[Tensor, Tensor]:
        dtype = now.rate.dtype
        if self.warmup_steps is None:
            return ops.cast(self.alpha, dtype), ops.cast(self.beta_3, dtype)
        way = ops.minimum(now.step / self.warmup_steps, 1.0)
        # So that the half-life of the average grows evenly, from that of the fast one.
        # `beta_1` may be 0, which has no logarithm.
        fast = ops.log(ops.maximum(ops.convert_to_tensor(self.beta_1, "float64"), 1e-8))
        slow = math.log(self.beta_3)
        beta_3 = ops.exp(fast * slow / ((1 - way) * slow + way * fast))
        beta_3 = ops.minimum(beta_3, self.beta_3)
        return ops.cast(self.alpha * way, dtype), ops.cast(beta_3, dtype)

    def change(self, part: Part, given: _Given) -> Tensor:
        fast = part.average("momentum", part.gradient, self.beta_1)
        slow = part.average("slow_momentum", part.gradient, given.beta_3)
        squares = part.average("velocity", ops.square(part.gradient), self.beta_2)
        root = ops.sqrt(squares) + given.epsilon
        return (fast + slow * given.alpha) * (given.rate / root)
