"""SGD whose rate is a distance over gradients."""

from collections.abc import Callable, Mapping, Sequence
from typing import Unpack

import keras
from keras import ops

from keras_ext._core._checks import number
from keras_ext._core._typing import Tensor, Variable
from keras_ext._engine._distance_rule import DistanceRule
from keras_ext._engine._measured_rule import norms
from keras_ext._engine._rule_optimizer import LearningRate, Now, OptimizerOptions


@keras.saving.register_keras_serializable(package="keras_ext")
class DoG(DistanceRule):
    """SGD without a learning rate to tune: the distance gone, over the gradients seen.

    The rate is the largest distance so far from the first weights, divided by the root
    of the sum of all squared gradient norms. Leave `learning_rate` at 1. The authors
    evaluate an average of the weights: pass `use_ema=True`.

    Args:
        learning_rate: A number >= 0, a `LearningRateSchedule`, or a function without
            arguments. Defaults to `1.0`.
        initial_distance: Number > 0, the first distance, as a multiple of one plus the
            norm of all weights; the authors take `1e-4` with batch normalization.
            Defaults to `1e-06`.
        epsilon: Number > 0, added to the sum of squares. Defaults to `1e-08`.
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
        >>> optimizer = kx.optimizers.DoG(initial_distance=1e-2)
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

    def numbers(self) -> Mapping[str, float | Callable[[Sequence[Variable]], Tensor]]:
        return {"distance": self._first_distance, "squares": 0.0}

    def _first_distance(self, variables: Sequence[Variable]) -> Tensor:
        return self.share_of_norm(variables, self.initial_distance)

    def decide(self, rows: Sequence[Tensor], now: Now, given: Now) -> Tensor:
        way, gradient = map(ops.sum, rows)
        distance = ops.maximum(now.numbers["distance"], norms(way))
        # `measure` gives halves of squares; `norms` has doubled the other.
        squares = now.numbers["squares"] + 2 * gradient
        now.numbers.update(distance=distance, squares=squares)
        return now.rate * distance / ops.sqrt(squares + self.epsilon)
