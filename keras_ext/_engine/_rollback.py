"""Batches that are left out leave nothing behind in layers and metrics."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_ext._anatomy._linked_method import link_method
from keras_ext._anatomy._sublayers import sublayers
from keras_ext._core._typing import Function, Logs, Record, Tensor, Variable
from keras_ext._keras import _replica
from keras_ext._keras._frozen_weights import frozen_weights
from keras_ext._keras._optimizer_family import optimizer_family
from keras_ext._live._find_hyper_variables import hyper_variables

# On a model, the rollbacks that its compiled step holds.
_ROLLBACKS = "_keras_ext_rollbacks"


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
        model: The model.
        optimizer: What leaves updates out.
    """

    def __init__(self, model: keras.Model, optimizer: LeavesOut) -> None:
        self._model = model
        self.optimizer = optimizer
        self._copies: dict[int, Variable] = {}
        # How many batches of the epoch have left something, and whether a step counts.
        self._kept: Variable | None = None
        self._counts = False

    def build(self) -> None:
        """Makes room for what has to last over several micro-batches."""
        self._kept = _replica.counter("kept")
        if self.optimizer.accumulates:
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

    def around_reset(self, reset: Function) -> Function:
        """The link to put around `reset_metrics`, if nobody calls `begin_epoch`."""

        def reset_metrics() -> None:
            reset()
            self.begin_epoch()

        return reset_metrics

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

    def around(self, step: Function) -> Function:
        """The link to put around the `train_step` of the model."""

        def train_step(*args: object, **kwargs: object) -> Record:
            variables = self._written()
            present = _values(variables)
            before = self._remembered(variables, present)
            count = self.optimizer.num_left_out()
            result = step(*args, **kwargs)
            fails = self.optimizer.num_left_out() > count
            after = _values(variables)
            if self._kept is not None and variables[-1] is self._kept:
                self._counts = True
                after[-1] += 1
            if self.optimizer.accumulates:
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
        is_first = self.optimizer.begins_update()
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


@contextmanager
def taking_back(model: keras.Model, kind: str, arguments: Record) -> Iterator[None]:
    """What is around methods of models that are compiled with pipelines."""
    optimizer = getattr(model, "optimizer", None)
    family = optimizer_family(optimizer) if kind == "train" and optimizer else []
    pipelines = [m for m in family if getattr(m, "undoes_batches", False)]
    with ExitStack() as stack:
        for rollback in _of_compiled_step(model, pipelines) if pipelines else []:
            stack.callback(link_method(model, "train_step", rollback.around))
            reset = rollback.around_reset
            stack.callback(link_method(model, "reset_metrics", reset))
        yield


def _of_compiled_step(
    model: keras.Model, pipelines: Sequence[LeavesOut]
) -> list[Rollback]:
    """Those that the step of a model was traced with, or is going to be."""
    present: list[Rollback] = vars(model).get(_ROLLBACKS, [])
    is_traced = getattr(model, "train_function", None) is not None
    if is_traced and [r.optimizer for r in present] == pipelines:
        return present
    model.train_function = None
    made = [Rollback(model, pipeline) for pipeline in pipelines]
    for rollback in made:
        if model.built and rollback.optimizer.accumulates:
            with model.distribute_strategy.scope():
                rollback.build()
    # Past Keras's attribute tracking.
    object.__setattr__(model, _ROLLBACKS, made)
    return made
