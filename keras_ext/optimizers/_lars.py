"""SGD with a trust ratio for every weight."""

from collections.abc import Mapping, Sequence
from typing import Unpack

import keras
from keras import ops

from keras_ext._core._checks import choice, flag, number
from keras_ext._core._pattern import check_pattern, matches
from keras_ext._core._typing import Pattern, Tensor, Variable
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
    Slot,
)


@keras.saving.register_keras_serializable(package="keras_ext")
class LARS(MeasuredRule):
    """SGD with momentum whose steps are as long as the weights they move.

    Each weight has a rate of its own, in proportion to its norm and inverse to that of
    its gradient: `learning_rate * trust_coefficient * |w| / (|g| + decay * |w|)`. So
    large batches can be trained with large learning rates. A weight whose norm or
    gradient is zero moves as with SGD.

    Args:
        learning_rate: A number >= 0, a `LearningRateSchedule`, or a function without
            arguments. Defaults to `0.1`.
        momentum: Number in [0, 1), how much of the last step is repeated.
            Defaults to `0.9`.
        nesterov: Whether the momentum is Nesterov's. Defaults to `False`.
        trust_coefficient: Number > 0, how far a weight may move, as a share of its
            norm, at the learning rate 1. Defaults to `0.001`.
        denominator: `"paper"`, as above; or `"decayed"`, the norm of the gradient with
            the decay in it, as in optax. Defaults to `"paper"`.
        exclude: Which weights move as with SGD, without ratio and decay: a regular
            expression that is searched in `variable.path`, a list of them, or a
            function; for example `["bias", "gamma", "beta"]`. None means none.
        weight_decay: Number >= 0, the share of a weight that is added to its gradient.
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
        >>> optimizer = kx.optimizers.LARS(1.0, trust_coefficient=0.1)
        >>> optimizer.apply([keras.ops.array([[70.0], [0.0]])], [kernel])
        >>> print(kernel.numpy().T)  # moved by 0.1 * 5
        [[2.5 4. ]]

    References:
        - [You et al., 2017](https://arxiv.org/abs/1708.03888)
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.1,
        *,
        momentum: float = 0.9,
        nesterov: bool = False,
        trust_coefficient: float = 0.001,
        denominator: str = "paper",
        exclude: Pattern = None,
        weight_decay: float | None = None,
        **options: Unpack[OptimizerOptions],
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, **options)
        check_pattern("exclude", exclude)
        self.momentum = number(momentum, "momentum", low=0, below=1)
        self.nesterov = flag(nesterov, "nesterov")
        self.trust_coefficient = number(trust_coefficient, "trust_coefficient", above=0)
        self.denominator = choice(denominator, "denominator", ("paper", "decayed"))
        self.exclude = exclude

    def slots(self, variable: Variable) -> Mapping[str, Slot]:
        return {"momentum": Slot()}

    def measure(self, part: Part, given: Now) -> tuple[Tensor, ...]:
        none = ops.zeros_like(given.rate)
        part.direction = part.gradient
        if matches(self.exclude, part.variable):  # as of zero norm: the ratio is 1
            return none, none, none
        if part.decay is not None:
            part.direction = part.gradient + part.value * part.decay
        lengths, on_top = half_square(part.value), none
        if self.denominator == "decayed" or part.decay is None:
            return lengths, half_square(part.direction), none
        on_top = lengths * part.decay**2  # the half square of decay * |w|
        return lengths, half_square(part.gradient), on_top

    def decide(self, rows: Sequence[Tensor], now: Now, given: Now) -> Tensor:
        lengths, slopes, on_top = map(norms, rows)
        ratios = divided(lengths, by=slopes + on_top, otherwise=0.0)
        # With its norm as the ratio, a weight that begins at zero would stay there.
        is_zero = ops.logical_or(ops.equal(lengths, 0), ops.equal(slopes, 0))
        return now.rate * ops.where(is_zero, 1.0, self.trust_coefficient * ratios)

    def change(self, part: Part, given: Now) -> Tensor:
        step = part.factor * part.direction
        velocity = part.slots["momentum"] * self.momentum + step
        part.slots["momentum"] = velocity
        return velocity * self.momentum + step if self.nesterov else velocity

    def moved(self, part: Part, change: Tensor, now: Now) -> Tensor:
        return part.value - change  # The decay is in the direction.
