"""The base of optimizers whose steps depend on norms or sums of whole weights."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from keras import ops

from keras_ext._core._typing import Tensor
from keras_ext._engine._rule_optimizer import Now, Part, RuleOptimizer


class MeasuredRule(RuleOptimizer):
    """An optimizer that measures all weights before it moves the first.

    A subclass says in `measure` which numbers it takes of a weight, and in `decide`
    what follows from those of all weights; `change` finds it in `part.factor`. What is
    small is done in rows, with a number for each weight: some operations in all, and
    not some for each.
    """

    def measure(self, part: Part, given: Any) -> tuple[Tensor, ...]:
        """Numbers of a weight; may put into the part what is to be kept, or used later.

        Args:
            part: The weight.
            given: What `coefficients` returned.
        """
        raise NotImplementedError

    def decide(self, rows: Sequence[Tensor], now: Now, given: Any) -> Tensor:
        """A factor for each weight, in a row, or one for all of them.

        Args:
            rows: What was measured, each kind in a row with a number for each weight.
            now: The update; gets the numbers that are to be kept.
            given: What `coefficients` returned.
        """
        raise NotImplementedError

    def rule(self, parts: Sequence[Part], now: Now) -> None:
        given = self.coefficients(now)
        measured = [self.measure(part, given) for part in parts]
        rows = [ops.stack(column) for column in zip(*measured, strict=True)]
        factors = self.decide(rows, now, given)
        of_each = ops.unstack(factors) if len(factors.shape) else [factors] * len(parts)
        for part, factor in zip(parts, of_each, strict=True):
            part.factor = factor
            part.value = self.moved(part, self.change(part, given), now)


def half_square(tensor: Tensor) -> Tensor:
    """Half of the squared norm, in one pass over the tensor."""
    return tf.nn.l2_loss(tensor)


def norms(half_squares: Tensor) -> Tensor:
    """The norms, from a row of halves of their squares."""
    return ops.sqrt(2 * half_squares)


def divided(row: Tensor, by: Tensor, *, otherwise: Tensor | float) -> Tensor:
    """A quotient, and something else where it would be divided by zero."""
    is_zero = ops.equal(by, 0)
    return ops.where(is_zero, otherwise, row / ops.where(is_zero, 1.0, by))
