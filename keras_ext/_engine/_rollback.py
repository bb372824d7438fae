"""Batches that are left out leave nothing behind in layers and metrics."""

import math
from collections.abc import Sequence
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_ext._anatomy._sublayers import sublayers
from keras_ext._core._typing import Function, Logs, Record, Tensor, Variable
from keras_ext._fit._fit_scope import FitScope
from keras_ext._keras import _replica
from keras_ext._keras._frozen_weights import frozen_weights
from keras_ext._live._find_hyper_variables import hyper_variables


class LeavesOut(Protocol):
    """An optimizer that leaves updates out."""

    @property
    def accumulates(self) -> bool:
        """Whether an update may be one of several batches."""

    def begins_update(self) -> Tensor:
        """Whether the present batch is the first of its update."""

    def num_left_out(self) -> Tensor:
        """How many updates were left out so far, on a replica."""


class Rollback:
    """Takes back what the forward pass of an update that is left out has written.

    When the gradient is found not to be finite, batch normalization has long taken the
    batch into its statistics, and the loss into the metric that shows it: one batch
    with NaN, and every prediction afterwards is NaN. So a step remembers these
    variables before it begins (with accumulation, before the first micro-batch of the
    update) and restores them when the update was left out. A micro-batch that breaks
    them is taken back at once: who evaluates does not wait for its update. The states
    of random number generators and live hyperparameters go on.

    Args:
        scope: The scope of the `fit`.
        optimizer: What leaves updates out.
    """

    def __init__(self, scope: FitScope, optimizer: LeavesOut) -> None:
        self._model = scope.model
        self._optimizer = optimizer
        self._copies: dict[int, Variable] = {}
        # How many batches of the epoch have left something, and whether a step counts.
        self._kept: Variable | None = None
        self._counts = False
        scope.link("train_step", self._restoring)

    def build(self) -> None:
        """Makes room for what has to last over several micro-batches."""
        self._kept = _replica.counter("kept")
        if self._optimizer.accumulates:
            self._copies = {
                id(v): _replica.local_variable(
                    v.shape, v.dtype, "kept", "only_first_replica"
                )
                for v in self._written()
            }

    def _written(self) -> list[Variable]:
        # What a first step is yet to create has nothing to go back to.
        kept = [] if self._kept is None else [self._kept]
        return [*written_by_batches(self._model), *kept]

    def begin_epoch(self) -> None:
        """Takes note that the metrics begin anew, also if an update is not complete."""
        if self._kept is None:
            return
        self._kept.assign(0)
        for variable in (self._kept, *self._model.metrics_variables):
            if id(variable) in self._copies:
                self._copies[id(variable)].assign(variable)

    def correct(self, values: Logs) -> None:
        """Makes NaN, and not 0, of metrics if all batches of an epoch were left out.

        Args:
            values: The logs of the epoch, as Keras has made them.
        """
        values = {} if values is None else values
        zeros = [n for n, v in values.items() if np.ndim(v) == 0 and v == 0]
        # Asked only then: it is read from the device.
        if zeros and self._counts and not int(ops.convert_to_numpy(self._kept)):
            measured = self._model.get_metrics_result()
            values.update({name: math.nan for name in zeros if name in measured})

    def _restoring(self, step: Function) -> Function:
        def train_step(*args: object, **kwargs: object) -> Record:
            variables = self._written()
            present = _values(variables)
            before = self._remembered(variables, present)
            count = self._optimizer.num_left_out()
            result = step(*args, **kwargs)
            fails = self._optimizer.num_left_out() > count
            after = _values(variables)
            if self._kept is not None and variables[-1] is self._kept:
                self._counts = True
                after[-1] += 1
            if self._copies:
                after = _unless_broken(present, after)
            pairs = zip(before, after, strict=True)
            if variables:
                _replica.assign(variables, [tf.where(fails, a, b) for a, b in pairs])
            return result

        return train_step

    def _remembered(
        self, variables: Sequence[Variable], present: Sequence[Tensor]
    ) -> list[Tensor]:
        """The values before the first batch of the update."""
        before = list(present)
        is_first = self._optimizer.begins_update()
        for i, variable in enumerate(variables):
            copy = self._copies.get(id(variable))
            if copy is not None:
                copy.assign(tf.where(is_first, present[i], _replica.native(copy)))
                before[i] = tf.identity(_replica.native(copy))
        return before


def _values(variables: Sequence[Variable]) -> list[Tensor]:
    return [tf.identity(_replica.native(v)) for v in variables]


def _unless_broken(present: Sequence[Tensor], after: Sequence[Tensor]) -> list[Tensor]:
    """What a step has written, or what was there, if it made NaN or infinity of it."""
    broken = [
        tf.reduce_any(tf.math.is_finite(a) & ~tf.math.is_finite(b))
        for a, b in zip(present, after, strict=True)
        if b.dtype.is_floating
    ]
    if not broken:
        return list(after)
    some = tf.reduce_any(tf.stack(broken))
    return [tf.where(some, a, b) for a, b in zip(present, after, strict=True)]


def written_by_batches(model: keras.Model) -> list[Variable]:
    """The variables that a batch leaves something in besides the weights."""
    # A frozen backbone is no small thing to copy in every step.
    kept = {id(v) for v in frozen_weights(sublayers(model))}
    kept |= {id(h.variable) for h in hyper_variables(model).values() if h.built}
    found = [*model.non_trainable_variables, *model.metrics_variables]
    return [
        v
        for v in {id(v): v for v in found}.values()
        if id(v) not in kept and v.name != "seed_generator_state"
    ]
