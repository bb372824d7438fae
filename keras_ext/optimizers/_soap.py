"""Adam in the basis of Shampoo."""

from collections.abc import Callable, Mapping, Sequence
from typing import Unpack

import keras
import tensorflow as tf
from keras import ops

from keras_ext._core._checks import integer
from keras_ext._core._typing import Tensor, Variable
from keras_ext._engine._adaptive_rule import AdaptiveRule, Corrected
from keras_ext._engine._rule_optimizer import (
    LearningRate,
    Now,
    OptimizerOptions,
    Part,
    Slot,
)
from keras_ext._engine._sides import eigen, matrix_shape, outer, sides_of, turned


@keras.saving.register_keras_serializable(package="keras_ext")
class SOAP(AdaptiveRule):
    """Adam in directions that vary independently, those of the matrices of `Shampoo`.

    Gradients are turned into the eigenbasis of how rows and columns of gradients vary
    together, Adam makes a step of them there, and that is turned back. Every
    `update_every` updates the basis is refreshed by one step of orthogonal iteration.
    The first update only finds the basis: nothing moves. A side longer than `max_size`
    is not turned; weights of one axis are moved by Adam.

    Args:
        learning_rate: A number >= 0, a `LearningRateSchedule`, or a function without
            arguments. Defaults to `0.003`.
        beta_1: Number in [0, 1), how much of the average of gradients is kept in an
            update. Defaults to `0.95`.
        beta_2: Number in [0, 1), the same of the averages of squares and of the
            matrices. Defaults to `0.95`.
        epsilon: Number > 0, added to the root mean square. Defaults to `1e-08`.
        update_every: Integer >= 1, the number of updates between changes of the basis.
            Defaults to `10`.
        max_size: Integer >= 1, the longest side with a matrix. Defaults to `512`.
        weight_decay: Number >= 0, the share of a weight that is taken off after an
            update, times the learning rate. None means none.
        **options: What every optimizer of Keras takes: `clipnorm`, `clipvalue`,
            `global_clipnorm`, `use_ema`, `ema_momentum`, `ema_overwrite_frequency`,
            `loss_scale_factor`, `gradient_accumulation_steps` and `name`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> kernel = keras.Variable(keras.ops.zeros((2, 2)), name="kernel")
        >>> optimizer = kx.optimizers.SOAP(0.5)
        >>> for _ in range(2):
        ...     optimizer.apply([keras.ops.array([[5.0, 0.0], [0.0, 0.1]])], [kernel])
        >>> print(kernel.numpy().round(2))  # both directions as far
        [[-0.5  0. ]
         [ 0.  -0.5]]

    References:
        - [Vyas et al., 2024](https://arxiv.org/abs/2409.11321)
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.003,
        *,
        beta_1: float = 0.95,
        beta_2: float = 0.95,
        epsilon: float = 1e-8,
        update_every: int = 10,
        max_size: int = 512,
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
        self.update_every = integer(update_every, "update_every", low=1)
        self.max_size = integer(max_size, "max_size", low=1)

    def _sides(self, variable: Variable) -> Mapping[str, int]:
        is_matrix = len(variable.shape) >= 2
        return sides_of(variable, self.max_size) if is_matrix else {}

    def slots(self, variable: Variable) -> Mapping[str, Slot]:
        slots = dict(super().slots(variable))
        for side, size in self._sides(variable).items():
            slots[side] = Slot((size, size))
            # Until there is a basis, this is Adam.
            slots[f"{side}_basis"] = Slot((size, size), _identity(size))
        return slots

    def coefficients(self, now: Now) -> Corrected:
        # The first update does not count.
        step = ops.maximum(now.step - 1, 1)
        given = super().coefficients(Now(step, now.rate))
        return given._replace(rate=now.rate * ops.cast(now.step > 1, now.rate.dtype))

    def rule(self, parts: Sequence[Part], now: Now) -> None:
        given = self.coefficients(now)
        now.rate = given.rate
        is_first = ops.equal(now.step, 1)
        for part in parts:
            # In this order, the gradient is not seen in a basis that is made of itself.
            part.value = self.moved(part, self.change(part, given, is_first), now)
            self._remember(part)
        is_due = ops.equal((now.step - 1) % self.update_every, 0)
        branch = ops.where(is_first, 0, ops.where(is_due, 1, 2))
        ways = (_eigenbases, _refreshed, _held)
        found = tf.switch_case(
            ops.cast(branch, "int32"),
            [
                # A branch runs after the loop: without the default, all would take the
                # last way.
                lambda way=way: [way(p, self._sides(p.variable)) for p in parts]
                for way in ways
            ],
        )
        for part, held in zip(parts, found, strict=True):
            part.slots.update(held)

    def change(self, part: Part, given: Corrected, is_first: Tensor = False) -> Tensor:
        shape = matrix_shape(part.variable)
        sides = self._sides(part.variable)
        bases = {side: part.slots[f"{side}_basis"] for side in sides}
        # The first gradient is for the basis alone.
        gradient = part.gradient * ops.cast(
            ops.logical_not(is_first), part.gradient.dtype
        )
        momentum = part.average("momentum", gradient, self.beta_1)
        seen = turned(ops.reshape(gradient, shape), bases)
        square = ops.reshape(ops.square(seen), part.value.shape)
        squares = part.average("velocity", square, self.beta_2)
        scale = given.rate * given.scale
        factor = ops.reshape(scale / (ops.sqrt(squares) + given.epsilon), shape)
        step = turned(ops.reshape(momentum, shape), bases) * factor
        return ops.reshape(turned(step, bases, back=True), part.value.shape)

    def moved(self, part: Part, change: Tensor, now: Now) -> Tensor:
        value = part.value - change
        return value if part.decay is None else value * (1 - now.rate * part.decay)

    def _remember(self, part: Part) -> None:
        matrix = ops.reshape(part.gradient, matrix_shape(part.variable))
        for side in self._sides(part.variable):
            part.average(side, outer(matrix, side), self.beta_2)


def _identity(size: int) -> Callable[[Variable], Tensor]:
    return lambda variable: ops.eye(size)


# What becomes of the slots of a weight, in the first update, when the basis is
# refreshed, and otherwise.


def _eigenbases(part: Part, sides: Mapping[str, int]) -> dict[str, Tensor]:
    # `eigh` puts the largest last; `_refreshed` puts it first.
    bases = {side: ops.flip(eigen(part.slots[side])[1], axis=1) for side in sides}
    found = {f"{side}_basis": basis for side, basis in bases.items()}
    return {"velocity": part.slots["velocity"], **found}


def _refreshed(part: Part, sides: Mapping[str, int]) -> dict[str, Tensor]:
    """Bases after a step of orthogonal iteration, in the order of their eigenvalues."""
    squares = ops.reshape(part.slots["velocity"], matrix_shape(part.variable))
    found = {}
    for side in sides:
        basis = part.slots[f"{side}_basis"]
        product = ops.matmul(part.slots[side], basis)
        # QR turns each column away from those before it, so the largest comes first.
        order = tf.argsort(ops.sum(basis * product, axis=0), direction="DESCENDING")
        # The second moments are of directions, and change places with them.
        squares = ops.take(squares, order, axis=0 if side == "left" else 1)
        found[f"{side}_basis"] = ops.qr(ops.take(product, order, axis=1))[0]
    return {"velocity": ops.reshape(squares, part.value.shape), **found}


def _held(part: Part, sides: Mapping[str, int]) -> dict[str, Tensor]:
    names = ["velocity", *(f"{side}_basis" for side in sides)]
    return {name: part.slots[name] for name in names}
