"""SGD whose rate is a distance over weighted gradients."""

from collections.abc import Mapping, Sequence
from typing import Unpack

import keras
from keras import ops

from keras_ext._core._checks import number
from keras_ext._core._typing import Tensor
from keras_ext._engine._distance_rule import DistanceRule
from keras_ext._engine._rule_optimizer import LearningRate, Now, OptimizerOptions


@keras.saving.register_keras_serializable(package="keras_ext")
class DoWG(DistanceRule):
    """`DoG` that lets later gradients, from further away, count more.

    The rate is the square of the largest distance so far, divided by the root of the
    sum of squared gradient norms times squared distances. It grows faster than that of
    `DoG`, and the last weights serve without an average. Leave `learning_rate` at 1.

    Args:
        learning_rate: A number >= 0, a `LearningRateSchedule`, or a function without
            arguments. Defaults to `1.0`.
        initial_squared_distance: Number > 0, the square of the first distance.
            Defaults to `0.0001`.
        epsilon: Number > 0, added to the root. Defaults to `0.0001`.
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
        >>> optimizer = kx.optimizers.DoWG()
        >>> for _ in range(100):  # the gradient of weight ** 2 / 2
        ...     optimizer.apply([weight + 0.0], [weight])
        >>> abs(float(weight)) < 0.1
        True

    References:
        - [Khaled et al., 2023](https://arxiv.org/abs/2305.16284)
    """

    def __init__(
        self,
        learning_rate: LearningRate = 1.0,
        *,
        initial_squared_distance: float = 1e-4,
        epsilon: float = 1e-4,
        weight_decay: float | None = None,
        **options: Unpack[OptimizerOptions],
    ) -> None:
        super().__init__(
            learning_rate, epsilon=epsilon, weight_decay=weight_decay, **options
        )
        self.initial_squared_distance = number(
            initial_squared_distance, "initial_squared_distance", above=0
        )

    def numbers(self) -> Mapping[str, float]:
        return {"squared_distance": self.initial_squared_distance, "squares": 0.0}

    def decide(self, rows: Sequence[Tensor], now: Now, given: Now) -> Tensor:
        # `measure` gives halves of squares.
        way, gradient = (2 * ops.sum(row) for row in rows)
        distance = ops.maximum(now.numbers["squared_distance"], way)
        squares = now.numbers["squares"] + distance * gradient
        now.numbers.update(squared_distance=distance, squares=squares)
        return now.rate * distance / (ops.sqrt(squares) + self.epsilon)
