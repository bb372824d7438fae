"""Updates of every replica on its own, around a common center."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_ext._core._typing import Record, Strategy, Tensor, Variable
from keras_ext._engine._local_updates import LocalUpdates, after
from keras_ext._fit._fit_scope import FitScope
from keras_ext._keras import _replica
from keras_ext._keras._optimizer_slots import strategy_of
from keras_ext._keras._replica import PerReplica
from keras_ext._live._hyper_variable import HyperVariable


class ElasticUpdates(LocalUpdates):
    """Every replica trains on its own, on an elastic band to a common center.

    Args:
        scope: The scope of the `fit`.
        sync_every: Every how many steps the bands pull, of dtype `"int32"`.
        elasticity: By how much of the mean distance the center moves then.
    """

    def __init__(
        self, scope: FitScope, sync_every: HyperVariable, elasticity: HyperVariable
    ) -> None:
        super().__init__(scope, sync_every, average_state=False)
        self.elasticity = elasticity

    def build(self, variables: Sequence[Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        state = self._state
        state.centers = [_copy(v) for v in state.weights]
        state.owned += [*state.centers, self.elasticity.build()]

    def _step(self, strategy: Strategy, gradients: Sequence[PerReplica]) -> None:
        if _replica.num_replicas() == 1:
            self._step_together(strategy, gradients)
            return
        state = self._state
        with after(strategy, gradients):
            since = tf.identity(state.since.value)
        due = since >= self.sync_every.value
        # The gradients are those before the pull, as in the paper.
        tf.cond(due, lambda: self._pull(strategy), lambda: None)
        state.since.assign(tf.where(due, 0, since) + 1)
        state.apart.assign(1)
        self._update(strategy, self._of_each_alone(strategy, gradients))

    def _pull(self, strategy: Strategy) -> None:
        weights, centers = self._state.weights, self._state.centers
        rate = self.elasticity.value / _replica.num_replicas()

        def distances() -> list[Tensor]:
            pairs = zip(weights, centers, strict=True)
            return [_replica.native(w) - _replica.native(c) for w, c in pairs]

        def pull(own: Sequence[Tensor], total: Sequence[Tensor]) -> None:
            moved = [
                _replica.native(w) - tf.cast(rate, d.dtype) * d
                for w, d in zip(weights, own, strict=True)
            ]
            followed = [
                _replica.native(c) + tf.cast(rate, d.dtype) * d
                for c, d in zip(centers, total, strict=True)
            ]
            _replica.assign([*weights, *centers], [*moved, *followed])

        own = _replica.each_replica(strategy, distances)
        total = _replica.reduce_sum(strategy, own)
        _replica.each_replica(strategy, pull, own, total)
        self._state.synchronizations.assign_add(1)

    # The files of a model have the center; what goes on needs the replicas, too.

    def get_state(self) -> Record:
        if not self.built:
            return super().get_state()
        # Several replicas have changed places with the centers while somebody looks.
        is_shown = self._lookers and strategy_of(self).num_replicas_in_sync > 1
        kept = self._state.centers if is_shown else self._state.weights
        replicas = [_on_each_replica(v) for v in [*kept, *self._state.slots]]
        return {**super().get_state(), "replicas": replicas}

    def set_state(self, state: Record) -> None:
        super().set_state(state)
        if not self.built or "replicas" not in state:
            return
        for center, weight in zip(
            self._state.centers, self._state.weights, strict=True
        ):
            center.assign(weight)
        replicas = strategy_of(self).num_replicas_in_sync
        kept = [*self._state.weights, *self._state.slots]
        for variable, values in zip(kept, state["replicas"], strict=True):
            # On other machines, all begin at the center.
            if len(values) == replicas:
                _assign_each(variable, values)

    # While somebody looks, the weights are in the place of the center.

    def _differs(self) -> bool:
        return True

    def _gather(self, strategy: Strategy) -> None:
        self._average(strategy, self._state.statistics)
        self._swap(strategy)

    def _resume(self) -> None:
        self._run("resume", self._swap)

    def _swap(self, strategy: Strategy) -> None:
        if _replica.num_replicas() == 1:
            return
        weights, centers = self._state.weights, self._state.centers

        def swap() -> None:
            values = [tf.identity(_replica.native(v)) for v in [*centers, *weights]]
            _replica.assign([*weights, *centers], values)

        _replica.each_replica(strategy, swap)

    def finish(self) -> None:
        super().finish()
        self._run("end", lambda strategy: self._average(strategy, self._state.slots))


def _copy(variable: Variable) -> Variable:
    return keras.Variable(
        ops.convert_to_numpy(variable),
        dtype=variable.dtype,
        trainable=False,
        autocast=False,
        name=f"{variable.name}_center",
    )


def _on_each_replica(variable: Variable) -> list[np.ndarray]:
    return [np.array(part) for part in _replica.parts(variable)]


def _assign_each(variable: Variable, values: Sequence[np.ndarray]) -> None:
    for part, value in zip(_replica.parts(variable), values, strict=True):
        part.assign(value)
