"""Adam with a trust ratio for every weight."""

from collections.abc import Sequence
from typing import Unpack

import keras
from keras import ops

from keras_ext._core._checks import number
from keras_ext._core._pattern import check_pattern, matches
from keras_ext._core._typing import Pattern, Tensor
from keras_ext._engine._adaptive_rule import AdaptiveRule, Corrected
from keras_ext._engine._measured_rule import (
    MeasuredRule,
    divided,
    half_square,
    norms,
)
from keras_ext._engine._rule_optimizer import (
    LearningRate,
    Now,
    OptimizerOptions,
    Part,
)


@keras.saving.register_keras_serializable(package="keras_ext")
class LAMB(MeasuredRule, AdaptiveRule):
    """Adam whose steps are as long as the weights they move, for large batches.

    Each weight moves by `learning_rate` times its norm, in the direction of Adam with
    weight decay. So one learning rate suits all layers, and it may grow with the batch.
    This is the rule of the paper: the decay is part of the direction, so that the ratio
    counts it. Keras's `Lamb` decays apart from it and excludes nothing.

    A weight whose norm or direction is zero moves as with Adam.

    Args:
        learning_rate: A number >= 0, a `LearningRateSchedule`, or a function without
            arguments. Defaults to `0.001`.
        beta_1: Number in [0, 1), how much of the average of gradients is kept in an
            update. Defaults to `0.9`.
        beta_2: Number in [0, 1), the same of the average of squares.
            Defaults to `0.999`.
        epsilon: Number > 0, added to the root mean square. Defaults to `1e-06`.
        max_norm: Number > 0, the largest norm of a weight that counts.
            Defaults to `10.0`.
        exclude: Which weights move as with Adam, without ratio and decay: a regular
            expression that is searched in `variable.path`, a list of them, or a
            function; for example `["bias", "gamma", "beta"]`. None means none.
        weight_decay: Number >= 0, the share of a weight that is added to its direction.
            None means none.
        **options: What every optimizer of Keras takes: `clipnorm`, `clipvalue`,
            `global_clipnorm`, `use_ema`, `ema_momentum`, `ema_overwrite_frequency`,
            `loss_scale_factor`, `gradient_accumulation_steps` and `name`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> kernel = keras.Variable([[3.0], [4.0]], name="kernel")  # norm 5
        >>> optimizer = kx.optimizers.LAMB(0.1)
        >>> optimizer.apply([keras.ops.array([[7.0], [7.0]])], [kernel])
        >>> print(kernel.numpy().round(3).T)  # moved by 0.1 * 5
        [[2.646 3.646]]

    References:
        - [You et al., 2019](https://arxiv.org/abs/1904.00962)
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        *,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        max_norm: float = 10.0,
        exclude: Pattern = None,
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
        check_pattern("exclude", exclude)
        self.max_norm = number(max_norm, "max_norm", above=0)
        self.exclude = exclude

    def measure(self, part: Part, given: Corrected) -> tuple[Tensor, ...]:
        momentum = part.average("momentum", part.gradient, self.beta_1)
        squares = part.average("velocity", ops.square(part.gradient), self.beta_2)
        direction = momentum * (given.scale / (ops.sqrt(squares) + given.epsilon))
        excluded = matches(self.exclude, part.variable)
        if part.decay is not None and not excluded:
            direction = direction + part.value * part.decay
        part.direction = direction
        if excluded:  # as of zero norm, which has the ratio 1
            return ops.zeros_like(given.rate), ops.zeros_like(given.rate)
        return half_square(part.value), half_square(direction)

    def decide(self, rows: Sequence[Tensor], now: Now, given: Corrected) -> Tensor:
        lengths, steps = map(norms, rows)
        # phi of the paper.
        lengths = ops.minimum(lengths, self.max_norm)
        ratios = divided(lengths, by=steps, otherwise=1.0)
        # With its norm as the ratio, a weight that begins at zero would stay there.
        return given.rate * ops.where(ops.equal(lengths, 0), 1.0, ratios)

    def change(self, part: Part, given: Corrected) -> Tensor:
        return part.factor * part.direction

    def moved(self, part: Part, change: Tensor, now: Now) -> Tensor:
        return part.value - change  # The decay is in the direction.
