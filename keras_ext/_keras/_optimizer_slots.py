"""What optimizers of Keras keep under private names."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from keras_ext._core._dtypes import wide_dtype
from keras_ext._core._typing import Optimizer, Strategy, Tensor, Variable
from keras_ext._keras import _replica
from keras_ext._keras._optimizer_family import (
    innermost_optimizers,
    optimizer_family,
    updates_so_far,
)


def adam_preconditioner(
    optimizer: Optimizer, variables: Sequence[Variable]
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
            unbiased = 1.0 - float(member.beta_2) ** updates_so_far(member)
            roots = [
                tf.sqrt(tf.cast(moments[member._get_variable_index(v)], tf.float32))
                for v in variables
            ]
            return [unbiased**0.5 / (root + member.epsilon) for root in roots]
    return None


def diagonal_steps(
    optimizer: Optimizer, variables: Sequence[Variable]
) -> list[Tensor] | None:
    """By what Adam multiplies rate and gradient of each element, or None without Adam.

    After an update, while a step is traced. Private names as above.
    """
    if not isinstance(optimizer, keras.optimizers.Adam):
        return None
    moments = optimizer._velocity_hats if optimizer.amsgrad else optimizer._velocities
    updates = tf.cast(tf.identity(_replica.native(optimizer.iterations)), tf.float32)
    # As a tensor, since it may be moved while training.
    root = tf.sqrt(1.0 - tf.pow(tf.cast(optimizer.beta_2, tf.float32), updates))
    found = [moments[optimizer._get_variable_index(v)] for v in variables]
    values = [_replica.native(v) for v in found]
    wide = [tf.cast(x, wide_dtype(x.dtype)) for x in values]
    return [tf.cast(root, x.dtype) / (tf.sqrt(x) + optimizer.epsilon) for x in wide]


def decays(optimizer: Optimizer, variable: Variable) -> bool:
    """Whether the weight decay of an optimizer is for this weight.

    Private name: `_use_weight_decay`.
    """
    return any(
        bool(member._use_weight_decay(variable))
        for member in optimizer_family(optimizer)
        if member.weight_decay is not None
    )


def built_variables(optimizer: Optimizer) -> Sequence[Variable]:
    """The weights that an optimizer was built for.

    Private name: `_trainable_variables`.
    """
    return optimizer._trainable_variables


def strategy_of(optimizer: Optimizer) -> Strategy:
    """The strategy under which an optimizer was made.

    Private name: `_distribution_strategy`.
    """
    return optimizer._distribution_strategy


def updates_with_this(optimizer: Optimizer) -> Tensor:
    """Within `apply`, where constraints are called: the updates with the present one.

    With Keras's own accumulation it is one more only in the call that makes the update.

    Private name: `_iterations`, which counts calls, and is raised after constraints.
    """
    inner = innermost_optimizers(optimizer)[0]
    return (inner._iterations.value + 1) // (inner.gradient_accumulation_steps or 1)
