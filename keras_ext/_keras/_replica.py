"""Replicas of tf.distribute, and variables that have a value on each.

Everything here works the same without a strategy: TensorFlow's default strategy is
one replica that reduces to itself.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from keras_ext._core._typing import Function, Strategy, Tensor, Variable
from keras_ext._keras._sparse_gradient import elements

# What each replica has a value of its own of; with one of them it is a plain tensor.
PerReplica: TypeAlias = tf.Tensor | tf.distribute.DistributedValues


def merge(function: Callable[..., None], *args: object) -> None:
    """Leaves replica context: calls `function(strategy, *args)` once for all.

    Only there may a conditional contain an update of mirrored variables.
    """
    context = tf.distribute.get_replica_context()
    if context is None:
        raise RuntimeError(
            "An optimizer must be applied in replica context. "
            "Call it in strategy.run(...), as model.fit does."
        )
    context.merge_call(function, args=args)


def num_replicas() -> int:
    """The number of replicas in the present scope."""
    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def replica_number() -> Tensor | int:
    """The number of the present replica, from 0; 0 outside of replica context."""
    context = tf.distribute.get_replica_context()
    return 0 if context is None else context.replica_id_in_sync_group


def each_replica(strategy: Strategy, function: Function, *args: object) -> Any:
    """Calls `function` in replica context, on every replica."""
    return strategy.extended.call_for_each_replica(function, args=args)


def first_replica(strategy: Strategy, value: PerReplica) -> Tensor:
    """The value of the first local replica."""
    return strategy.experimental_local_results(value)[0]


def local_replicas(strategy: Strategy, value: PerReplica) -> list[Tensor]:
    """The values of all replicas of this process."""
    return list(strategy.experimental_local_results(value))


def reduce_sum(strategy: Strategy, values: Sequence[PerReplica]) -> list[PerReplica]:
    """Sums over the replicas, in one batch, to where the values are."""
    pairs = [(v, v) for v in values]
    return list(strategy.extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, pairs))


def all_reduce_sum(values: Sequence[Tensor]) -> list[Tensor]:
    """Sums over the replicas, from within one, to all of them."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1 or not values:
        return list(values)
    return list(context.all_reduce(tf.distribute.ReduceOp.SUM, list(values)))


def assign(variables: Sequence[Variable], values: Sequence[Tensor]) -> None:
    """Writes mirrored variables, each with the value of its replica, from within."""

    def write(strategy: Strategy, *values: PerReplica) -> None:
        for variable, value in zip(variables, values, strict=True):
            strategy.extended.update(
                native(variable),
                lambda device_variable, x: device_variable.assign(x),
                args=(value,),
                group=False,
            )

    merge(write, *values)


def native(value: Variable | Tensor) -> tf.Variable | Tensor:
    """The `tf.Variable` of a `keras.Variable`; anything else as it is."""
    return value.value if isinstance(value, keras.Variable) else value


def parts(variable: Variable) -> list[tf.Variable]:
    """The variables of the replicas of this process that one is made of."""
    mirrored = native(variable)
    return list(getattr(mirrored, "values", (mirrored,)))


def local_variable(
    shape: Sequence[int],
    dtype: str,
    name: str,
    total: str,
    initial: np.ndarray | Sequence[float] | float = 0,
) -> Variable:
    """Creates a variable with a value of its own on every replica.

    Writing it communicates nothing, and is allowed inside a conditional. Outside of
    the replicas it reads as `total`: `"sum"`, or `"only_first_replica"` for values
    that are the same everywhere.
    """
    return keras.Variable(
        # An initializer, since its owner may be built while a step is traced.
        keras.initializers.Constant(initial),
        shape=tuple(shape),
        dtype=dtype,
        trainable=False,
        autocast=False,
        aggregation=total,
        synchronization="on_read",
        name=name,
    )


def counter(name: str) -> Variable:
    """Creates an integer variable that all replicas share, from 0."""
    return keras.Variable(
        0,
        dtype="int32",
        trainable=False,
        aggregation="only_first_replica",
        name=name,
    )


def squared_norms(tensors: Sequence[Tensor]) -> Tensor:
    """The squared Euclidean norms, a float32 vector, in one pass over each tensor.

    Sparse ones have one row of an index: see `_sparse_gradient.summed`.
    """
    halves = [tf.nn.l2_loss(tf.cast(elements(x), tf.float32)) for x in tensors]
    return 2.0 * tf.stack(halves) if halves else tf.zeros((0,))
