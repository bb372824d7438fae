"""What gradients and optimizers need of tf.distribute, and of Keras's private names.

Everything here works the same without a strategy: TensorFlow's default strategy is
one replica that reduces to itself.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from keras_ext.core._typing import Tensor, Variable

# Read by `TFOptimizer._backend_update_step` in Keras 3.14 and 3.15.
_ALL_REDUCE = "_all_reduce_sum_gradients"


def merge(function: Callable[..., None], *args: Any) -> None:
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


def each_replica(strategy: Any, function: Callable[..., Any], *args: Any) -> Any:
    """Calls `function` in replica context, on every replica."""
    return strategy.extended.call_for_each_replica(function, args=args)


def first_replica(strategy: Any, value: Any) -> Tensor:
    """The value of the first local replica."""
    return strategy.experimental_local_results(value)[0]


def local_replicas(strategy: Any, value: Any) -> list[Tensor]:
    """The values of all replicas of this process."""
    return list(strategy.experimental_local_results(value))


def reduce_sum(strategy: Any, values: Sequence[Any]) -> list[Any]:
    """Sums over the replicas, in one batch, to where the values are."""
    # Strategies with one device hold plain tensors, and those have a device.
    pairs = [(v, v.device if tf.is_tensor(v) else v) for v in values]
    return list(strategy.extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, pairs))


def assign(variables: Sequence[Variable], values: Sequence[Tensor]) -> None:
    """Writes mirrored variables, each with the value of its replica, from within."""

    def write(strategy: Any, *values: Any) -> None:
        for variable, value in zip(variables, values, strict=True):
            strategy.extended.update(
                native(variable),
                lambda device_variable, x: device_variable.assign(x),
                args=(value,),
                group=False,
            )

    merge(write, *values)


def native(value: Any) -> Any:
    """The `tf.Variable` of a `keras.Variable`; anything else as it is."""
    return value.value if isinstance(value, keras.Variable) else value


def local_variable(
    shape: Sequence[int], dtype: str, name: str, total: str, initial: Any = 0
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


def dense(gradient: Tensor) -> Tensor:
    """The sparse gradient of an embedding as an ordinary tensor.

    Of a word that comes twice in a batch it has two rows. Their sum is the gradient;
    but Keras's Adam, for one, squares the rows before it sums them.
    """
    return tf.convert_to_tensor(gradient)


def squared_norms(tensors: Sequence[Tensor]) -> Tensor:
    """The squared Euclidean norms, a float32 vector, in one pass over each tensor."""
    halves = [tf.nn.l2_loss(tf.cast(x, tf.float32)) for x in tensors]
    return 2.0 * tf.stack(halves) if halves else tf.zeros((0,))


@contextmanager
def gradients_already_reduced(optimizer: Any) -> Iterator[None]:
    """Keeps an optimizer from summing over the replicas what is a sum already.

    The override is on the instance and only lasts while its step is traced.
    """
    members = [
        m
        for m in optimizer_family(optimizer)
        if hasattr(m, _ALL_REDUCE) and not receives_reduced_gradients(m)
    ]
    for member in members:
        object.__setattr__(member, _ALL_REDUCE, lambda pairs: pairs)
    try:
        yield
    finally:
        for member in members:
            object.__delattr__(member, _ALL_REDUCE)


def receives_reduced_gradients(optimizer: Any) -> bool:
    """Whether `gradients_already_reduced` is in force for this optimizer."""
    return _ALL_REDUCE in vars(optimizer)


def optimizer_family(optimizer: Any) -> list[Any]:
    """The optimizer and the ones that it delegates to, each once."""
    found: dict[int, Any] = {}
    waiting = [optimizer]
    while waiting:
        member = waiting.pop()
        if id(member) not in found:
            found[id(member)] = member
            for name in ("optimizer", "inner_optimizer", "optimizers"):
                held = getattr(member, name, None)
                held = held if isinstance(held, list | tuple) else [held]
                waiting += [x for x in held if isinstance(x, keras.Optimizer)]
    return list(found.values())


def adam_preconditioner(
    optimizer: Any, variables: Sequence[Variable]
) -> list[Tensor] | None:
    """What Adam multiplies the gradient of each weight with, or None without Adam.

    Private names: `_velocities`, `_velocity_hats` and `_get_variable_index`.
    """
    family = optimizer_family(optimizer)
    if any(getattr(member, "transforms", ()) for member in family):
        # It has seen other gradients, clipped ones for example, and fits only those.
        return None
    for member in family:
        if isinstance(member, keras.optimizers.Adam) and member.built:
            moments = member._velocity_hats if member.amsgrad else member._velocities
            unbiased = 1.0 - float(member.beta_2) ** int(
                keras.ops.convert_to_numpy(member.iterations)
            )
            roots = [
                tf.sqrt(tf.cast(moments[member._get_variable_index(v)], tf.float32))
                for v in variables
            ]
            return [unbiased**0.5 / (root + member.epsilon) for root in roots]
    return None


def decays(optimizer: Any, variable: Variable) -> bool:
    """Whether the weight decay of an optimizer is for this weight.

    Private name: `_use_weight_decay`.
    """
    return any(
        bool(member._use_weight_decay(variable))
        for member in optimizer_family(optimizer)
        if member.weight_decay is not None
    )
