"""Descent in the metric of Kronecker factors."""

from collections.abc import Callable, Mapping, Sequence
from typing import Unpack

import keras
import tensorflow as tf
from keras import ops

from keras_ext._core._checks import choice, integer, number
from keras_ext._core._typing import Tensor, Variable
from keras_ext._engine._measured_rule import divided, half_square, norms
from keras_ext._engine._rule_optimizer import (
    LearningRate,
    Now,
    OptimizerOptions,
    Part,
    RuleOptimizer,
    Slot,
)
from keras_ext._engine._sides import eigen, matrix_shape, outer, sides_of, turned


@keras.saving.register_keras_serializable(package="keras_ext")
class Shampoo(RuleOptimizer):
    """AdaGrad with full matrices, one for each side of a weight.

    A kernel, seen as a matrix from inputs to outputs, is multiplied on both sides by
    inverse roots of how its rows and columns of gradients vary together. It needs few
    updates where the problem is badly scaled, each of which costs more. The roots are
    computed every `update_every` updates, in float32 at least. A side longer than
    `max_size` is left alone.

    Args:
        learning_rate: A number >= 0, a `LearningRateSchedule`, or a function without
            arguments. Defaults to `0.001`.
        momentum: Number in [0, 1), how much of the last step is repeated.
            Defaults to `0.9`.
        beta_2: Number in [0, 1], how much of the matrices is kept in an update; at 1
            they are sums, and below averages. Defaults to `1.0`.
        epsilon: Number > 0, on the diagonal of the matrices at first.
            Defaults to `1e-06`.
        update_every: Integer >= 1, the number of updates between computations of the
            roots. Defaults to `10`.
        max_size: Integer >= 1, the longest side with a matrix. Defaults to `512`.
        graft: `"gradient"`, to move each weight as far as SGD would, whose learning
            rate serves then; or None, to move as far as the roots say.
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
        >>> kernel = keras.Variable(keras.ops.zeros((2, 2)), name="kernel")
        >>> optimizer = kx.optimizers.Shampoo(1.0)
        >>> optimizer.apply([keras.ops.array([[5.0, 0.0], [0.0, 0.1]])], [kernel])
        >>> print(kernel.numpy().round(2))  # both directions as far
        [[-1.  0.]
         [ 0. -1.]]

    References:
        - [Gupta et al., 2018](https://arxiv.org/abs/1802.09568)
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        *,
        momentum: float = 0.9,
        beta_2: float = 1.0,
        epsilon: float = 1e-6,
        update_every: int = 10,
        max_size: int = 512,
        graft: str | None = None,
        weight_decay: float | None = None,
        **options: Unpack[OptimizerOptions],
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, **options)
        self.momentum = number(momentum, "momentum", low=0, below=1)
        self.beta_2 = number(beta_2, "beta_2", low=0, high=1)
        self.epsilon = number(epsilon, "epsilon", above=0)
        self.update_every = integer(update_every, "update_every", low=1)
        self.max_size = integer(max_size, "max_size", low=1)
        self.graft = choice(graft, "graft", ("gradient",), optional=True)

    def slots(self, variable: Variable) -> Mapping[str, Slot]:
        slots = {"momentum": Slot()}
        for side, size in sides_of(variable, self.max_size).items():
            slots[side] = Slot((size, size), self._first(size))
            slots[f"{side}_root"] = Slot((size, size))
        return slots

    def _first(self, size: int) -> Callable[[Variable], Tensor]:
        return lambda variable: self.epsilon * ops.eye(size)

    def rule(self, parts: Sequence[Part], now: Now) -> None:
        for part in parts:
            self._remember(part)
        # One condition for all weights; the first update always computes the roots.
        is_due = ops.equal((now.step - 1) % self.update_every, 0)
        roots = tf.cond(
            is_due,
            lambda: [self._roots(part) for part in parts],
            lambda: [_held_roots(part) for part in parts],
        )
        for part, held in zip(parts, roots, strict=True):
            part.slots.update(held)
            part.value = self.moved(part, self.change(part, now), now)

    def _remember(self, part: Part) -> None:
        matrix = ops.reshape(part.gradient, matrix_shape(part.variable))
        for side in sides_of(part.variable, self.max_size):
            new = outer(matrix, side)
            share = 1.0 if self.beta_2 == 1 else 1 - self.beta_2
            part.slots[side] = part.slots[side] * self.beta_2 + new * share

    def _roots(self, part: Part) -> dict[str, Tensor]:
        sides = sides_of(part.variable, self.max_size)
        # All sides together make the inverse root: -1/4 each for a matrix, -1/2 for a
        # vector, or where the other side is too large.
        power = -1 / (2 * len(sides)) if sides else 0.0
        return {f"{side}_root": _power(part.slots[side], power) for side in sides}

    def change(self, part: Part, given: Now) -> Tensor:
        matrix = ops.reshape(part.gradient, matrix_shape(part.variable))
        sides = sides_of(part.variable, self.max_size)
        by = {side: part.slots[f"{side}_root"] for side in sides}
        direction = ops.reshape(turned(matrix, by), part.value.shape)
        if self.graft == "gradient":
            wanted, is_now = (norms(half_square(x)) for x in (part.gradient, direction))
            direction = direction * divided(wanted, by=is_now, otherwise=0.0)
        velocity = part.slots["momentum"] * self.momentum + direction
        part.slots["momentum"] = velocity
        return velocity * given.rate


def _held_roots(part: Part) -> dict[str, Tensor]:
    return {name: x for name, x in part.slots.items() if name.endswith("_root")}


def _power(matrix: Tensor, power: float) -> Tensor:
    """A negative power of a matrix that is symmetric, and positive but for rounding."""
    values, vectors = eigen(matrix)
    # What is smaller than the precision of the largest is noise.
    # `eigh` puts the largest last; 1e-30 is for a matrix of zeros.
    least = values[-1] * 1e-7 + 1e-30
    powers = ops.power(ops.maximum(values, least), power)
    return ops.matmul(vectors * powers, ops.transpose(vectors))
