"""Adam that estimates the distance to the solution."""

from collections.abc import Sequence
from typing import NamedTuple, Unpack

import keras
from keras import ops

from keras_ext._core._typing import Tensor
from keras_ext._engine._distance_estimate import DistanceEstimate
from keras_ext._engine._measured_rule import divided
from keras_ext._engine._rule_optimizer import (
    LearningRate,
    Now,
    OptimizerOptions,
    Part,
)


class _Given(NamedTuple):
    rate: Tensor
    # The shares of averages of gradients and of their weighted sum that are kept.
    keep: float


@keras.saving.register_keras_serializable(package="keras_ext")
class DAdaptAdam(DistanceEstimate):
    """Adam whose rate is a lower bound of the distance to the solution (D-Adaptation).

    The bound starts tiny and grows. `Prodigy` is its successor, which grows faster.
    Leave `learning_rate` at 1, or give it a schedule whose largest value is 1.

    The distance of the present model is in `optimizer.distance`.

    Args:
        learning_rate: A number >= 0, a `LearningRateSchedule`, or a function without
            arguments; a multiple of the distance. Defaults to `1.0`.
        beta_1: Number in [0, 1), how much of the average of gradients is kept in an
            update. Defaults to `0.9`.
        beta_2: Number in [0, 1), the same of the average of squares.
            Defaults to `0.999`.
        epsilon: Number > 0, added to the root mean square. Defaults to `1e-08`.
        initial_distance: Number > 0, below any sensible distance.
            Defaults to `1e-06`.
        weight_decay: Number >= 0, the share of a weight that is taken off in an update,
            times the rate. None means none.
        **options: What every optimizer of Keras takes: `clipnorm`, `clipvalue`,
            `global_clipnorm`, `use_ema`, `ema_momentum`, `ema_overwrite_frequency`,
            `loss_scale_factor`, `gradient_accumulation_steps` and `name`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> weight = keras.Variable(3.0, name="weight")
        >>> optimizer = kx.optimizers.DAdaptAdam(initial_distance=1e-2)
        >>> for _ in range(40):  # the gradient of weight ** 2 / 2
        ...     optimizer.apply([weight + 0.0], [weight])
        >>> abs(float(weight)) < 3, float(optimizer.distance) > 0.02
        (True, True)

    References:
        - [Defazio and Mishchenko, 2023](https://arxiv.org/abs/2301.07733)
    """

    def __init__(
        self,
        learning_rate: LearningRate = 1.0,
        *,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        initial_distance: float = 1e-6,
        weight_decay: float | None = None,
        **options: Unpack[OptimizerOptions],
    ) -> None:
        super().__init__(
            learning_rate,
            initial_distance=initial_distance,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            weight_decay=weight_decay,
            **options,
        )

    def coefficients(self, now: Now) -> _Given:
        now.rate = self.rate_with_distance(now)
        return _Given(now.rate, self.beta_2**0.5)

    def measure(self, part: Part, given: _Given) -> tuple[Tensor, ...]:
        gradient, slots = part.gradient, part.slots
        # Order matters: the inner product is with what was summed and averaged before
        # this gradient.
        root = ops.sqrt(slots["velocity"]) + self.epsilon
        inner = ops.sum(gradient * slots["gradient_sum"] / root)
        step = gradient * given.rate
        part.average("momentum", step, self.beta_1)
        part.average("velocity", ops.square(gradient), self.beta_2)
        total = part.average("gradient_sum", step, given.keep)
        return inner, ops.sum(ops.abs(total))

    def decide(self, rows: Sequence[Tensor], now: Now, given: _Given) -> Tensor:
        inner, size = map(ops.sum, rows)
        keep, old = given.keep, now.numbers["distance"]
        numerator = now.numbers["numerator"] * keep + (1 - keep) * given.rate * inner
        estimate = divided(numerator, by=(1 - keep) * size, otherwise=0.0)
        now.numbers.update(numerator=numerator, distance=ops.maximum(old, estimate))
        # `change` has no use for a factor.
        return ops.ones_like(old)

    def change(self, part: Part, given: _Given) -> Tensor:
        return part.slots["momentum"] / (
            ops.sqrt(part.slots["velocity"]) + self.epsilon
        )
