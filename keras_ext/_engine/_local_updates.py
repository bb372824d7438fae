"""Optimizers of which every replica makes updates of its own."""

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf
from keras import ops

from keras_ext._core._checks import require
from keras_ext._core._typing import (
    Function,
    Logs,
    Record,
    Strategy,
    Tensor,
    Variable,
)
from keras_ext._engine._fail_if_unused import fail_if_unused
from keras_ext._engine._forwarding_optimizer import ForwardingOptimizer
from keras_ext._engine._rollback import Rollback
from keras_ext._fit._fit_scope import FitScope
from keras_ext._fit._values import assign_values, values_of
from keras_ext._keras import _reduction, _replica
from keras_ext._keras._optimizer_slots import built_variables, strategy_of
from keras_ext._keras._replica import PerReplica
from keras_ext._keras._sparse_gradient import dense
from keras_ext._live._hyper_variable import HyperVariable

# Whoever calls one of these is to see the weights that the training stands for.
_LOOKS = ("evaluate", "predict", "save", "save_weights", "export", "get_weights")


@dataclass(eq=False)
class _State:
    """What `build` makes. Keras does not look into it, so it tracks nothing twice."""

    # Steps of the replicas since their weights were averaged.
    since: Variable
    # Whether anything else of the optimizer is different on the replicas, 0 or 1.
    apart: Variable
    synchronizations: Variable
    # Of each replica, how many of its steps were left out.
    left_out: Variable
    # What is averaged: the weights; what the optimizer keeps for them; and what
    # layers keep of the data, such as the statistics of batch normalization.
    weights: list[Variable]
    slots: list[Variable]
    statistics: list[Variable]
    # What the weights are tied to, if they are.
    centers: list[Variable] = field(default_factory=list)
    owned: list[Variable] = field(default_factory=list)
    # The weights of the step that was traced last.
    stepped: Sequence[Variable] = ()
    # What the host runs, traced when it is first needed.
    functions: dict[str, Callable[[], None]] = field(default_factory=dict)


class LocalUpdates(ForwardingOptimizer):
    """Wraps the optimizer of a model, for one `fit`, to run on each replica alone.

    Every replica applies the gradient of its own samples to its own copy of the
    weights, and every `sync_every` steps the copies are averaged. With `sync_every` 1
    the gradients are averaged instead, which is ordinary synchronous training.

    A step in which a gradient is not finite is left out, by all replicas of the
    process, with what it has written to statistics and metrics. It counts in
    `iterations`, which are therefore the same everywhere.

    Args:
        scope: The scope of the `fit`.
        sync_every: The number of steps, of dtype `"int32"`.
        average_state: Whether to average also what the optimizer keeps, each time.
    """

    def __init__(
        self, scope: FitScope, sync_every: HyperVariable, average_state: bool
    ) -> None:
        super().__init__(scope.optimizer)
        self._scope = scope
        self.sync_every = sync_every
        self.average_state = average_state
        # Set while tracing: whether the training step uses this optimizer at all.
        self.was_applied = False
        # How many want to see the weights that the training stands for.
        self._lookers = 0
        self._rollback = Rollback(scope.model, self)
        scope.link("train_step", self._rollback.around)

    def attach(self) -> None:
        """Puts it on the model, until the scope is closed."""
        scope = self._scope
        scope.shared["optimizer"] = self
        scope.wrap_optimizer(self)
        fail_if_unused(scope, self)
        for name in _LOOKS:
            scope.link(name, self._showing)
        # The first thing to be undone: the methods and the optimizer are still there.
        scope.on_close(self._finish_if_used)

    # What a step may ask while it is traced.

    # Whether an update may be one of several batches.
    accumulates = False

    def begins_update(self) -> Tensor:
        """Whether the present batch is the first of its update: each one is."""
        return tf.constant(True)

    def num_left_out(self) -> Tensor:
        """How many steps were left out so far, on a replica."""
        return tf.identity(_replica.native(self._state.left_out))

    # Building.

    @property
    def own_variables(self) -> list[Variable]:
        return self._state.owned if self.built else []

    def build(self, variables: Sequence[Variable]) -> None:
        if self.built:
            return
        variables = list(variables)
        paths = [v.path for v in variables if getattr(v, "overwrite_with_gradient", 0)]
        require(
            not paths,
            "weights that are overwritten by their gradient",
            paths,
            "none where replicas make updates of their own",
        )
        super().build(variables)
        shared = (self.optimizer.iterations, self.optimizer.learning_rate)
        slots = [v for v in self.optimizer.variables if all(v is not s for s in shared)]
        kept = self._scope.model.non_trainable_weights
        left_out = _replica.local_variable((), "float32", "left_out", total="sum")
        self._state = _State(
            since=_replica.counter("since"),
            apart=_replica.counter("apart"),
            synchronizations=_replica.counter("synchronizations"),
            left_out=left_out,
            weights=variables,
            slots=[v for v in slots if _is_float(v)],
            statistics=[v for v in kept if _is_float(v) and v.aggregation == "none"],
        )
        state = self._state
        state.owned += [state.since, state.apart, state.synchronizations, left_out]
        state.owned.append(self.sync_every.build())
        self._rollback.build()

    def begin(self) -> None:
        """Builds everything, when the training begins."""
        model = self._scope.model
        require(
            model.built,
            "model.built",
            model.built,
            "True",
            hint="Call the model once, or give it an input shape, before fit.",
        )
        with model.distribute_strategy.scope():
            self.build(model.trainable_variables)

    def begin_epoch(self) -> None:
        """Is called when an epoch begins."""
        self._rollback.begin_epoch()

    def correct(self, logs: Logs) -> None:
        """See `Rollback`."""
        self._rollback.correct(logs)

    # Applying. `apply` runs on every replica, and what comes after once for all.

    def apply(
        self,
        grads: Sequence[Tensor],
        trainable_variables: Sequence[Variable] | None = None,
    ) -> None:
        if trainable_variables is None:
            trainable_variables = built_variables(self)
        self.was_applied = True
        pairs = [
            (dense(g), v)
            for g, v in zip(grads, trainable_variables, strict=True)
            if g is not None
        ]
        require(
            bool(pairs),
            "grads",
            grads,
            "gradients, at least one of them not None",
            hint="Does the loss depend on the trainable weights?",
        )
        self._state.stepped = [v for _, v in pairs]
        _replica.merge(self._step, [g for g, _ in pairs])

    def _step(self, strategy: Strategy, gradients: Sequence[PerReplica]) -> None:
        if _replica.num_replicas() == 1:
            self._step_together(strategy, gradients)
            return
        state = self._state
        alike = tf.equal(state.since.value + state.apart.value, 0)
        tf.cond(
            tf.logical_and(alike, self.sync_every.value <= 1),
            lambda: self._step_together(strategy, gradients),
            lambda: self._step_apart(strategy, gradients),
        )

    def _step_together(
        self, strategy: Strategy, gradients: Sequence[PerReplica]
    ) -> None:
        """An ordinary update. The gradients are those of shares of one loss."""
        self._update(strategy, _replica.reduce_sum(strategy, gradients))
        with after(strategy, gradients):
            self._state.synchronizations.assign_add(1)

    def _step_apart(self, strategy: Strategy, gradients: Sequence[PerReplica]) -> None:
        self._update(strategy, self._of_each_alone(strategy, gradients))
        state = self._state
        with after(strategy, gradients):
            since = state.since.value + 1
        due = since >= self.sync_every.value
        whole = tf.logical_or(self.average_state, self.sync_every.value <= 1)

        def synchronize() -> None:
            self._average(strategy, state.weights)
            if state.slots:
                average = lambda: self._average(strategy, state.slots)  # noqa: E731
                tf.cond(whole, average, lambda: None)
            state.synchronizations.assign_add(1)

        tf.cond(due, synchronize, lambda: None)
        state.since.assign(tf.where(due, 0, since))
        state.apart.assign(tf.where(tf.logical_and(due, whole), 0, 1))

    def _of_each_alone(
        self, strategy: Strategy, gradients: Sequence[PerReplica]
    ) -> list[PerReplica]:
        """The gradients of the mean over the samples of a replica."""
        # Keras has divided the loss by the number of replicas.
        replicas = _replica.num_replicas()
        return _replica.each_replica(
            strategy, lambda gs: [replicas * g for g in gs], gradients
        )

    def _update(self, strategy: Strategy, gradients: Sequence[PerReplica]) -> None:
        """Applies the wrapped optimizer to what each replica has, if it is finite."""
        squares = _replica.each_replica(
            strategy, lambda gs: tf.reduce_sum(_replica.squared_norms(gs)), gradients
        )
        finite = tf.math.is_finite(tf.add_n(_replica.local_replicas(strategy, squares)))
        state = self._state

        def apply() -> None:
            with _reduction.gradients_already_reduced(self.optimizer):
                _replica.each_replica(
                    strategy, self.optimizer.apply, gradients, state.stepped
                )

        def leave_out() -> None:
            self.optimizer.iterations.assign_add(1)
            _replica.each_replica(strategy, lambda: state.left_out.assign_add(1.0))

        tf.cond(finite, apply, leave_out)

    def _average(self, strategy: Strategy, variables: Sequence[Variable]) -> None:
        """Gives all replicas the mean of what they have, in one reduction."""
        replicas = _replica.num_replicas()
        if not variables or replicas == 1:
            return

        def shares() -> list[Tensor]:
            return [_replica.native(v) / replicas for v in variables]

        means = _replica.reduce_sum(strategy, _replica.each_replica(strategy, shares))
        _replica.each_replica(strategy, _replica.assign, variables, means)

    # Looking.

    def show(self) -> None:
        """Makes the weights, on every replica, those that the training stands for."""
        self._lookers += 1
        if self.built and self._lookers == 1 and self._differs():
            self._run("gather", self._gather)

    def hide(self) -> None:
        """Takes one `show` back."""
        self._lookers -= 1
        if self.built and self._lookers == 0:
            self._resume()

    def _differs(self) -> bool:
        """Whether anything on the replicas may be different."""
        state = self._state
        apart = [int(ops.convert_to_numpy(v)) for v in (state.since, state.apart)]
        return any(apart) or bool(state.statistics)

    def _gather(self, strategy: Strategy) -> None:
        state = self._state
        self._average(strategy, [*state.weights, *state.slots, *state.statistics])
        state.since.assign(0)
        state.apart.assign(0)
        state.synchronizations.assign_add(1)

    def _resume(self) -> None:
        """Nothing: the replicas go on from the mean."""

    def _run(self, name: str, function: Callable[[Strategy], None]) -> None:
        """Calls a function of the strategy on the host, traced once."""
        if name not in self._state.functions:
            strategy = strategy_of(self)
            self._state.functions[name] = tf.function(
                lambda: strategy.run(lambda: _replica.merge(function)), autograph=False
            )
        self._state.functions[name]()

    def _showing(self, method: Function) -> Function:
        """Makes a method of the model see what it should."""

        def look(*args: object, **kwargs: object) -> object:
            self.show()
            try:
                return method(*args, **kwargs)
            finally:
                self.hide()

        return look

    @property
    def left_out(self) -> float:
        """How many steps a replica has left out, on the average."""
        total = float(ops.convert_to_numpy(self._state.left_out))
        return total / strategy_of(self).num_replicas_in_sync

    @property
    def synchronizations(self) -> int:
        """How often weights or gradients were averaged."""
        return int(ops.convert_to_numpy(self._state.synchronizations))

    def _finish_if_used(self) -> None:
        # If it was never applied, there is nothing to bring together.
        if self.built and self.was_applied:
            self.finish()

    def finish(self) -> None:
        """Leaves the weights that the training stands for, and one optimizer."""
        if not self._lookers:
            self.show()

    # What a training that goes on needs of it, see `TrainingRun`.

    def get_state(self) -> Record:
        """What it has counted."""
        return {"counts": values_of(self._counts())}

    def set_state(self, state: Record) -> None:
        """Goes on with what another one has returned, with the loaded weights."""
        assign_values(self._counts(), state["counts"], "the updates of the replicas")

    def _counts(self) -> list[Variable]:
        if not self.built:
            return []
        state = self._state
        counts = [state.since, state.apart, state.synchronizations, state.left_out]
        return [*counts, self.sync_every.build()]

    # A file that is saved meanwhile holds the state of the wrapped optimizer where it
    # would be without this one. (Its config is what `compile` was given.)

    def save_own_variables(self, store: MutableMapping[str, np.ndarray]) -> None:
        self.optimizer.save_own_variables(store)

    def load_own_variables(self, store: MutableMapping[str, np.ndarray]) -> None:
        self.optimizer.load_own_variables(store)


@contextmanager
def after(strategy: Strategy, gradients: Sequence[PerReplica]) -> Iterator[None]:
    """What is read within waits for the gradients.

    A step that meets the end of the data fails in the middle, and what does not depend
    on the data still runs: it would count a step that never was.
    """
    with tf.control_dependencies([_replica.first_replica(strategy, gradients[0])]):
        yield


def _is_float(variable: Variable) -> bool:
    return str(variable.dtype).startswith(("float", "bfloat"))
