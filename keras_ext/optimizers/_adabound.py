"""Adam that becomes SGD."""

from collections.abc import Mapping
from typing import NamedTuple, Unpack

import keras
from keras import ops

from keras_ext._core._checks import number
from keras_ext._core._typing import Tensor
from keras_ext._engine._adaptive_rule import AdaptiveRule
from keras_ext._engine._measured_rule import divided
from keras_ext._engine._rule_optimizer import (
    LearningRate,
    Now,
    OptimizerOptions,
    Part,
)


class _Given(NamedTuple):
    scale: Tensor
    low: Tensor
    high: Tensor


@keras.saving.register_keras_serializable(package="keras_ext")
class AdaBound(AdaptiveRule):
    """Adam with bounds on the rate of each weight, which close in on one rate.

    It starts as Adam and ends as SGD with momentum. A change of the learning rate
    changes the bounds by the same factor, relative to the first update whose rate is
    not zero.

    Args:
        learning_rate: A number >= 0, a `LearningRateSchedule`, or a function without
            arguments. Defaults to `0.001`.
        beta_1: Number in [0, 1), how much of the average of gradients is kept in an
            update. Defaults to `0.9`.
        beta_2: Number in [0, 1), the same of the average of squares.
            Defaults to `0.999`.
        epsilon: Number > 0, added to the root mean square. Defaults to `1e-08`.
        final_learning_rate: Number > 0, the rate of SGD at the end.
            Defaults to `0.1`.
        gamma: Number > 0, how fast the bounds close in: after `1 / gamma` updates they
            are a factor of four apart. Defaults to `0.001`.
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
        >>> optimizer = kx.optimizers.AdaBound(final_learning_rate=0.5, gamma=1e6)
        >>> optimizer.apply([keras.ops.array(2.0)], [weight])
        >>> print(round(float(weight), 3))  # SGD, with an average that began at zero
        0.9

    References:
        - [Luo et al., 2019](https://arxiv.org/abs/1902.09843)
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        *,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        final_learning_rate: float = 0.1,
        gamma: float = 1e-3,
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
        self.final_learning_rate = number(
            final_learning_rate, "final_learning_rate", above=0
        )
        self.gamma = number(gamma, "gamma", above=0)

    def numbers(self) -> Mapping[str, float]:
        return {"first_rate": 0.0}

    def coefficients(self, now: Now) -> _Given:
        first = now.numbers["first_rate"]
        # A warm-up may begin at zero, which no rate is a multiple of.
        first = ops.where(ops.equal(first, 0), now.rate, first)
        now.numbers["first_rate"] = first
        relative = divided(now.rate, by=first, otherwise=0.0)
        final = self.final_learning_rate * relative
        way = ops.cast(now.step, final.dtype) * self.gamma
        # As in the authors' code, epsilon is not corrected with the averages.
        scale = now.rate * ops.sqrt(now.weight_of_averages(self.beta_2))
        return _Given(
            scale / now.weight_of_averages(self.beta_1),
            # From 0 and infinity, the bounds close in on the final rate.
            final * (1 - 1 / (way + 1)),
            final * (1 + 1 / way),
        )

    def change(self, part: Part, given: _Given) -> Tensor:
        momentum = part.average("momentum", part.gradient, self.beta_1)
        squares = part.average("velocity", ops.square(part.gradient), self.beta_2)
        rates = given.scale / (ops.sqrt(squares) + self.epsilon)
        return momentum * ops.minimum(ops.maximum(rates, given.low), given.high)
