"""SGD whose rate is a distance over gradients, for each weight."""

from collections.abc import Mapping, Sequence
from typing import Unpack

import keras
from keras import ops

from keras_ext._core._checks import number
from keras_ext._core._typing import Tensor, Variable
from keras_ext._engine._distance_rule import DistanceRule
from keras_ext._engine._measured_rule import norms
from keras_ext._engine._rule_optimizer import (
    LearningRate,
    Now,
    OptimizerOptions,
    Part,
    Slot,
)


@keras.saving.register_keras_serializable(package="keras_ext")
class LDoG(DistanceRule):
    """`DoG` with a distance and a sum of gradients for every weight tensor.

    Kernels and biases, early and late layers find rates of their own. The authors
    say that it needs an average of the weights: pass `use_ema=True`.

    Args:
        learning_rate: A number >= 0, a `LearningRateSchedule`, or a function without
            arguments. Defaults to `1.0`.
        initial_distance: Number > 0, the first distance of a weight, as a multiple of
            one plus its norm. Defaults to `1e-06`.
        epsilon: Number > 0, added to the sums of squares. Defaults to `1e-08`.
        weight_decay: Number >= 0, the share of a weight that is taken off in an update,
            times its rate. None means none.
        **options: What every optimizer of Keras takes: `clipnorm`, `clipvalue`,
            `global_clipnorm`, `use_ema`, `ema_momentum`, `ema_overwrite_frequency`,
            `loss_scale_factor`, `gradient_accumulation_steps` and `name`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> weight = keras.Variable(3.0, name="weight")
        >>> optimizer = kx.optimizers.LDoG(initial_distance=1e-2)
        >>> for _ in range(50):  # the gradient of weight ** 2 / 2
        ...     optimizer.apply([weight + 0.0], [weight])
        >>> abs(float(weight)) < 0.1
        True

    References:
        - [Ivgi et al., 2023](https://arxiv.org/abs/2302.12022)
    """

    def __init__(
        self,
        learning_rate: LearningRate = 1.0,
        *,
        initial_distance: float = 1e-6,
        epsilon: float = 1e-8,
        weight_decay: float | None = None,
        **options: Unpack[OptimizerOptions],
    ) -> None:
        super().__init__(
            learning_rate, epsilon=epsilon, weight_decay=weight_decay, **options
        )
        self.initial_distance = number(initial_distance, "initial_distance", above=0)

    def slots(self, variable: Variable) -> Mapping[str, Slot]:
        distance = Slot((), self._first_distance)
        return {**super().slots(variable), "distance": distance, "squares": Slot(())}

    def _first_distance(self, variable: Variable) -> Tensor:
        return self.share_of_norm([variable], self.initial_distance)

    def measure(self, part: Part, given: Now) -> tuple[Tensor, ...]:
        way, square = super().measure(part, given)
        distance = ops.maximum(part.slots["distance"], norms(way))
        # `measure` gives halves of squares; `norms` has doubled the other.
        squares = part.slots["squares"] + 2 * square
        part.slots.update(distance=distance, squares=squares)
        return distance, squares

    def decide(self, rows: Sequence[Tensor], now: Now, given: Now) -> Tensor:
        distances, squares = rows
        return now.rate * distances / ops.sqrt(squares + self.epsilon)
