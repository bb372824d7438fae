"""Masks that are put on weights while a model trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_ext._core._typing import Tensor, Variable
from keras_ext._fit._fit_scope import FitScope
from keras_ext._keras._replica import local_variable, parts
from keras_ext.compression._sparsity_schedule import SparsitySchedule

# From the values of weights that are ranked together, their numbers and the step that
# comes next to their masks.
Renew = Callable[[Sequence[Tensor], Sequence[int], Tensor], Sequence[Tensor]]


class Masking:
    """Keeps entries of weights at zero, by `Variable.constraint`.

    `Optimizer.apply` calls it at the end of each update, in the compiled step: so it is
    right with several steps per execution, and the optimizer's own averages and decay
    come before it. Masks are renewed there as well, from what the update has made of
    the weights: what was pruned may come back if that update moved it far enough.

    Args:
        variables: The weights.
        groups: The numbers of those that are ranked together.
    """

    def __init__(
        self, variables: Sequence[Variable], groups: Sequence[Sequence[int]]
    ) -> None:
        self.variables = list(variables)
        self.groups = [list(group) for group in groups]
        self._group_of = {i: g for g, group in enumerate(self.groups) for i in group}
        self._schedule: SparsitySchedule | None = None
        self._own: list[keras.constraints.Constraint | None] = [
            v.constraint for v in self.variables
        ]
        # Whether what an update has made of masked entries counts at a renewal.
        self.regrows = True
        # The numbers of the weights that an update was seen of.
        self.seen: set[int] = set()
        # A replica has masks of its own, equal to the others': only so they may be
        # written in a conditional.
        first = "only_first_replica"
        self.masks = [
            local_variable(v.shape, "bool", "mask", first, True) for v in self.variables
        ]
        self._renewed = [
            local_variable((), "int32", "renewed", first, -1) for _ in self.groups
        ]

    def put_on(self, scope: FitScope) -> None:
        """Puts the masks on the weights, for the time of a scope."""
        for i, variable in enumerate(self.variables):
            scope.on_close(partial(setattr, variable, "constraint", self._own[i]))
            variable.constraint = MaskConstraint(self, i)

    def renew_by(
        self, schedule: SparsitySchedule, renew: Renew, updates: Callable[[], Tensor]
    ) -> None:
        """Lets a schedule renew the masks.

        Args:
            schedule: When.
            renew: How.
            updates: Gives, within an update, the number of updates with this one.
        """
        self._schedule, self._renew, self._updates = schedule, renew, updates

    def masked(self, i: int, variable: Variable) -> Tensor:
        """A weight as the constraint leaves it; in the step."""
        self.seen.add(i)
        value = self._constrained(i, variable)
        if not self.regrows:
            value = keras.ops.where(self.masks[i].value, value, tf.zeros_like(value))
        if self._schedule is not None:
            self._renew_if_due(i, value)
        return keras.ops.where(self.masks[i].value, value, tf.zeros_like(value))

    def _constrained(self, i: int, variable: Variable) -> Tensor:
        own = self._own[i]
        return tf.convert_to_tensor(variable if own is None else own(variable))

    def _renew_if_due(self, i: int, value: Tensor) -> None:
        schedule: Any = self._schedule
        # The present update is counted: what is renewed is for the step after it.
        step = tf.cast(self._updates() + 1, tf.int32)
        renewed = self._renewed[self._group_of[i]]
        group = self.groups[self._group_of[i]]

        def renew() -> None:
            # The optimizer has moved all of them before it asks for the first.
            values = [
                value if j == i else self._constrained(j, self.variables[j])
                for j in group
            ]
            masks = self._renew(values, group, step)
            for j, mask in zip(group, masks, strict=True):
                self.masks[j].assign(mask)
            renewed.assign(step)

        # With accumulation the constraint is called more often than there are updates.
        is_new = renewed.value < step
        tf.cond(tf.logical_and(schedule.is_due(step), is_new), renew, lambda: None)

    # On the host.

    def begin(self, step: int) -> None:
        """Takes up masks as they were, and renews them if that is due before a step."""
        schedule = self._schedule
        # Before the first renewal a zero is a weight as any other.
        if schedule is None or step > schedule.first_due:
            self.follow()
        if schedule is not None and schedule.is_due(step):
            for group, renewed in zip(self.groups, self._renewed, strict=True):
                values = [tf.convert_to_tensor(self.variables[j]) for j in group]
                masks = self._renew(values, group, tf.constant(step))
                for j, mask in zip(group, masks, strict=True):
                    _set(self.masks[j], mask)
                _set(renewed, step)
        self.apply()

    def follow(self, masks: Sequence[np.ndarray] | None = None) -> None:
        """Takes up masks that are given, or those of what is not zero."""
        if masks is None:
            masks = [keras.ops.convert_to_numpy(v) != 0 for v in self.variables]
        for mask, value in zip(self.masks, masks, strict=True):
            _set(mask, value)

    def apply(self) -> bool:
        """Sets to zero what is masked; returns whether anything else was there."""
        changed = False
        for mask, variable in zip(self.masks, self.variables, strict=True):
            values = keras.ops.convert_to_numpy(variable)
            pruned = ~keras.ops.convert_to_numpy(mask)
            if values[pruned].any():
                changed = True
                variable.assign(keras.ops.where(pruned, 0, values))
        return changed

    @property
    def sparsity(self) -> float:
        """The share of what is masked."""
        masks = [keras.ops.convert_to_numpy(mask) for mask in self.masks]
        kept = sum(int(mask.sum()) for mask in masks)
        return 1.0 - kept / sum(mask.size for mask in masks)


class MaskConstraint(keras.constraints.Constraint):
    """Masks a weight, after the constraint that it had.

    Args:
        masking: The masks.
        i: The number of the weight.
    """

    def __init__(self, masking: Masking, i: int) -> None:
        self.masking = masking
        self.i = i

    def __call__(self, w: Variable) -> Tensor:
        return self.masking.masked(self.i, w)


def _set(variable: Variable, value: np.ndarray | int) -> None:
    """Writes the values of all replicas, from outside of them."""
    for part in parts(variable):
        part.assign(value)
