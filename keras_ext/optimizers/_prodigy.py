"""Adam that finds its learning rate."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Unpack

import keras
from keras import ops

from keras_ext._core._checks import flag, number
from keras_ext._core._typing import Tensor, Variable
from keras_ext._engine._distance_estimate import DistanceEstimate
from keras_ext._engine._measured_rule import divided
from keras_ext._engine._rule_optimizer import (
    LearningRate,
    Now,
    OptimizerOptions,
    Part,
    Slot,
)


class _Given(NamedTuple):
    # The distance until now, also as a multiple of the first, and the rate with it.
    distance: Tensor
    multiple: Tensor
    rate: Tensor


@keras.saving.register_keras_serializable(package="keras_ext")
class Prodigy(DistanceEstimate):
    """Adam that estimates its learning rate from how far the weights have to go.

    The rate is `learning_rate` times a distance, which starts tiny and grows to an
    estimate of that between the first weights and a solution. Leave `learning_rate` at
    1, or give it a schedule whose largest value is 1; cosine decay is recommended. Use
    it where there is no time to tune. It needs twice the memory of Adam.

    The distance of the present model is in `optimizer.distance`.

    Args:
        learning_rate: A number >= 0, a `LearningRateSchedule`, or a function without
            arguments; a multiple of the distance. Defaults to `1.0`.
        beta_1: Number in [0, 1), how much of the average of gradients is kept in an
            update. Defaults to `0.9`.
        beta_2: Number in [0, 1), the same of the average of squares.
            Defaults to `0.999`.
        epsilon: Number > 0, added to the root mean square, in units of the distance.
            Defaults to `1e-08`.
        initial_distance: Number > 0, below any sensible distance.
            Defaults to `1e-06`.
        distance_factor: Number > 0, by which estimates of the distance are multiplied:
            0.5 or 2 where all is stable but for the rate. Defaults to `1.0`.
        safeguard_warmup: Whether a rate that is small while warming up is left out of
            the estimate. Defaults to `False`.
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
        >>> optimizer = kx.optimizers.Prodigy(initial_distance=1e-2)
        >>> for _ in range(40):  # the gradient of weight ** 2 / 2
        ...     optimizer.apply([weight + 0.0], [weight])
        >>> abs(float(weight)) < 2, 0.05 < float(optimizer.distance) < 3
        (True, True)

    References:
        - [Mishchenko and Defazio, 2023](https://arxiv.org/abs/2306.06101)
    """

    def __init__(
        self,
        learning_rate: LearningRate = 1.0,
        *,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        initial_distance: float = 1e-6,
        distance_factor: float = 1.0,
        safeguard_warmup: bool = False,
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
        self.distance_factor = number(distance_factor, "distance_factor", above=0)
        self.safeguard_warmup = flag(safeguard_warmup, "safeguard_warmup")

    def slots(self, variable: Variable) -> Mapping[str, Slot]:
        start = Slot(initial=lambda variable: variable.value)
        return {**super().slots(variable), "start": start}

    def coefficients(self, now: Now) -> _Given:
        distance = now.numbers["distance"]
        now.rate = self.rate_with_distance(now)
        # The paper weighs by the squared distance, 1e-12 at first, which makes too
        # small numbers. With one of the two as a multiple, the constant cancels in
        # `decide`.
        return _Given(distance, distance / self.initial_distance, now.rate)

    def measure(self, part: Part, given: _Given) -> tuple[Tensor, ...]:
        gradient, slots = part.gradient, part.slots
        way = ops.sum(gradient * (slots["start"] - part.value))
        share = given.distance if self.safeguard_warmup else given.rate
        slots["gradient_sum"] = slots["gradient_sum"] * self.beta_2**0.5 + gradient * (
            share * given.multiple
        )
        # Both averages are of gradients times the distance, as in the paper: so what
        # was averaged at a small distance soon counts for nothing.
        scaled = gradient * given.distance
        part.average("momentum", scaled, self.beta_1)
        part.average("velocity", ops.square(scaled), self.beta_2)
        return way, ops.sum(ops.abs(slots["gradient_sum"]))

    def decide(self, rows: Sequence[Tensor], now: Now, given: _Given) -> Tensor:
        way, size = map(ops.sum, rows)
        numerator = now.numbers["numerator"] * self.beta_2**0.5
        numerator = numerator + given.multiple * given.rate * way
        estimate = self.distance_factor * divided(numerator, by=size, otherwise=0.0)
        distance = ops.maximum(given.distance, estimate)
        now.numbers.update(numerator=numerator, distance=distance)
        # With the new distance, though the rate is still that of the old one, as in the
        # authors' code.
        return distance * self.epsilon

    def change(self, part: Part, given: _Given) -> Tensor:
        root = ops.sqrt(part.slots["velocity"]) + part.factor
        return part.slots["momentum"] * (given.rate / root)
