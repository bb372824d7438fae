"""Adam with a rectified variance."""

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
    # Whether there is a rectification; the rates with it, and without.
    is_reliable: Tensor
    rate: Tensor
    plain_rate: Tensor
    epsilon: Tensor


@keras.saving.register_keras_serializable(package="keras_ext")
class RAdam(AdaptiveRule):
    """Adam that trusts its second moment only as far as it has seen gradients.

    In the first updates the average of squares is that of few gradients, and a quotient
    by it has a large, even an infinite variance. Adam needs a warm-up of the learning
    rate for it. Here the step is multiplied by the rectification that the number of
    updates allows; before there is one (the first five or so with the default
    `beta_2`) it is that of SGD with momentum. Later it is Adam.

    Args:
        learning_rate: A number >= 0, a `LearningRateSchedule`, or a function without
            arguments. Defaults to `0.001`.
        beta_1: Number in [0, 1), how much of the average of gradients is kept in an
            update. Defaults to `0.9`.
        beta_2: Number in [0, 1), the same of the average of squares.
            Defaults to `0.999`.
        epsilon: Number > 0, added to the root mean square. Defaults to `1e-08`.
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
        >>> weight = keras.Variable([1.0, 1.0], name="weight")
        >>> optimizer = kx.optimizers.RAdam(0.1)
        >>> optimizer.apply([keras.ops.array([0.5, -2.0])], [weight])
        >>> print(weight.numpy().round(3))  # the first update is that of SGD
        [0.95 1.2 ]

    References:
        - [Liu et al., 2019](https://arxiv.org/abs/1908.03265)
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        *,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
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

    def coefficients(self, now: Now) -> _Given:
        # In float64, since the difference of two large numbers is small at first.
        weight = now.exact_weight_of_averages(self.beta_2)
        # How many gradients an average is of: at last, and now.
        beta_2 = ops.convert_to_tensor(self.beta_2, "float64")
        # rho_inf and rho_t of the paper.
        at_last = 2 / (1 - beta_2) - 1
        length = at_last - 2 * now.step * (1 - weight) / weight
        # The variance exists above 4; the authors' code takes 5, since this is
        # approximate.
        is_reliable = length >= 5
        # Where it is not, the number under the root may be negative.
        length = ops.maximum(length, 5)
        # The square of r_t in the paper.
        rectified = (length - 4) * (length - 2) * at_last
        rectified = rectified / ((at_last - 4) * (at_last - 2) * length)
        factor = ops.cast(ops.sqrt(rectified * weight), now.rate.dtype)
        root = ops.cast(ops.sqrt(weight), now.rate.dtype)
        rate = now.rate / now.weight_of_averages(self.beta_1)
        return _Given(is_reliable, rate * factor, rate, self.epsilon * root)

    def change(self, part: Part, given: _Given) -> Tensor:
        momentum = part.average("momentum", part.gradient, self.beta_1)
        squares = part.average("velocity", ops.square(part.gradient), self.beta_2)
        adapted = given.rate / (ops.sqrt(squares) + given.epsilon)
        return momentum * ops.where(given.is_reliable, adapted, given.plain_rate)
