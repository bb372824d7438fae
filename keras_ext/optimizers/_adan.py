"""Nesterov's momentum, estimated from differences of gradients."""

from collections.abc import Mapping
from typing import NamedTuple, Unpack

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


class _Given(NamedTuple):
    # Zero in the first update, when there is no difference yet.
    has_difference: Tensor
    momentum_scale: Tensor
    difference_scale: Tensor
    epsilon: Tensor


@keras.saving.register_keras_serializable(package="keras_ext")
class Adan(RuleOptimizer):
    """Adam with Nesterov's momentum, without gradients at a second point.

    Nesterov's method looks at the gradient ahead. Here that is estimated from the
    gradient and an average of its differences from update to update. It bears large
    learning rates and batches, and needs twice the memory of Adam.

    Args:
        learning_rate: A number >= 0, a `LearningRateSchedule`, or a function without
            arguments. Defaults to `0.001`.
        beta_1: Number in [0, 1), how much of the average of gradients is kept in an
            update. Defaults to `0.98`.
        beta_2: Number in [0, 1), the same of the average of differences of gradients.
            Defaults to `0.92`.
        beta_3: Number in [0, 1), the same of the average of squares.
            Defaults to `0.99`.
        epsilon: Number > 0, added to the root mean square. Defaults to `1e-08`.
        weight_decay: Number >= 0; a weight is divided by one plus this times the
            learning rate, after it has moved. None means none.
        **options: What every optimizer of Keras takes: `clipnorm`, `clipvalue`,
            `global_clipnorm`, `use_ema`, `ema_momentum`, `ema_overwrite_frequency`,
            `loss_scale_factor`, `gradient_accumulation_steps` and `name`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> weight = keras.Variable(1.0, name="weight")
        >>> optimizer = kx.optimizers.Adan(0.1)
        >>> optimizer.apply([keras.ops.array(3.0)], [weight])
        >>> print(round(float(weight), 3))
        0.9

    References:
        - [Xie et al., 2022](https://arxiv.org/abs/2208.06677)
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        *,
        beta_1: float = 0.98,
        beta_2: float = 0.92,
        beta_3: float = 0.99,
        epsilon: float = 1e-8,
        weight_decay: float | None = None,
        **options: Unpack[OptimizerOptions],
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, **options)
        self.beta_1 = number(beta_1, "beta_1", low=0, below=1)
        self.beta_2 = number(beta_2, "beta_2", low=0, below=1)
        self.beta_3 = number(beta_3, "beta_3", low=0, below=1)
        self.epsilon = number(epsilon, "epsilon", above=0)

    def slots(self, variable: Variable) -> Mapping[str, Slot]:
        names = ("momentum", "difference", "velocity", "gradient")
        return dict.fromkeys(names, Slot())

    def coefficients(self, now: Now) -> _Given:
        # What is corrected are the scalars, not the averages: the root of `velocity` is
        # too small by this, and epsilon is made so as well.
        root = ops.sqrt(now.weight_of_averages(self.beta_3))
        scale = now.rate * root
        return _Given(
            ops.cast(now.step > 1, now.rate.dtype),
            scale / now.weight_of_averages(self.beta_1),
            # The betas of the paper are one minus these: its 1 - beta_2 is beta_2 here.
            scale * self.beta_2 / now.weight_of_averages(self.beta_2),
            self.epsilon * root,
        )

    def change(self, part: Part, given: _Given) -> Tensor:
        gradient = part.gradient
        step = (gradient - part.slots["gradient"]) * given.has_difference
        part.slots["gradient"] = gradient
        momentum = part.average("momentum", gradient, self.beta_1)
        difference = part.average("difference", step, self.beta_2)
        ahead = ops.square(gradient + step * self.beta_2)
        squares = part.average("velocity", ahead, self.beta_3)
        direction = (
            momentum * given.momentum_scale + difference * given.difference_scale
        )
        return direction / (ops.sqrt(squares) + given.epsilon)

    def moved(self, part: Part, change: Tensor, now: Now) -> Tensor:
        value = part.value - change
        # The last line of the paper's algorithm: decay is a proximal step, a division.
        return value if part.decay is None else value / (1 + now.rate * part.decay)
