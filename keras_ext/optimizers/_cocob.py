"""Betting coins on the sign of the gradient."""

from collections.abc import Mapping
from typing import Unpack

import keras
from keras import ops

from keras_ext._core._checks import number
from keras_ext._core._typing import Tensor, Variable
from keras_ext._engine._rule_optimizer import (
    LearningRate,
    Now,
    OptimizerOptions,
    Part,
    RuleOptimizer,
    Slot,
)


@keras.saving.register_keras_serializable(package="keras_ext")
class COCOB(RuleOptimizer):
    """Sets each weight by a gambler's bet, without a learning rate.

    Each weight is a gambler who bets a share of what it has won on the sign of the next
    gradient. How far it goes from its first value is the bet. There is nothing to tune;
    it needs five numbers for each weight, and no momentum. Leave `learning_rate` at 1.

    An update puts a weight where its bet says, whatever it was. So weights that others
    set, such as `Lookahead` or `EarlyStopping`, are forgotten in the next update, and
    weight decay does not add up.

    Args:
        learning_rate: A number >= 0, a `LearningRateSchedule`, or a function without
            arguments; the share of the way to the bet that an update goes.
            Defaults to `1.0`.
        alpha: Number > 0, how careful the first bets are: the first update is about the
            inverse of it. Defaults to `100.0`.
        epsilon: Number > 0, the smallest bound of a gradient. Defaults to `1e-08`.
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
        >>> weight = keras.Variable(0.0, name="weight")
        >>> optimizer = kx.optimizers.COCOB()
        >>> optimizer.apply([keras.ops.array(5.0)], [weight])
        >>> print(round(float(weight), 3))  # whatever the size of the gradient
        -0.01

    References:
        - [Orabona and Tommasi, 2017](https://arxiv.org/abs/1705.07795)
    """

    def __init__(
        self,
        learning_rate: LearningRate = 1.0,
        *,
        alpha: float = 100.0,
        epsilon: float = 1e-8,
        weight_decay: float | None = None,
        **options: Unpack[OptimizerOptions],
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, **options)
        self.alpha = number(alpha, "alpha", above=0)
        self.epsilon = number(epsilon, "epsilon", above=0)

    def slots(self, variable: Variable) -> Mapping[str, Slot]:
        return {
            "start": Slot(initial=lambda variable: variable.value),
            # Not zero: a weight that has had no gradient yet is divided by its square.
            "bound": Slot(initial=self.epsilon),
            "total": Slot(),
            "gradient_sum": Slot(),
            "reward": Slot(),
        }

    def change(self, part: Part, given: Now) -> Tensor:
        gradient, slots = part.gradient, part.slots
        # COCOB-Backprop of the paper: L is `bound`, G is `total`, theta is
        # `gradient_sum`.
        size = ops.abs(gradient)
        bound = ops.maximum(slots["bound"], size)
        total = slots["total"] + size
        gradient_sum = slots["gradient_sum"] - gradient
        won = slots["reward"] - gradient * (part.value - slots["start"])
        reward = ops.maximum(won, 0.0)
        slots.update(bound=bound, total=total, gradient_sum=gradient_sum, reward=reward)
        share = bound * ops.maximum(total + bound, bound * self.alpha)
        bet = gradient_sum * (bound + reward) / share
        # A bet sets a weight, whatever it was: at the rate 1, to `start + bet`.
        return given.rate * (part.value - slots["start"] - bet)
