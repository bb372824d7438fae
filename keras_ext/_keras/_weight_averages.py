"""The exponential averages that optimizers of Keras keep, made when others are done.

Keras averages at the end of an update. What changes the weights after that, outside of
the optimizer, would be in no average.

Private names: `_model_variables_moving_average` and `_trainable_variables`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import tensorflow as tf

from keras_ext._core._typing import Optimizer, Tensor, Variable
from keras_ext._keras import _replica
from keras_ext._keras._optimizer_family import optimizer_family

_AVERAGES = "_model_variables_moving_average"


@contextmanager
def averages_held_back(optimizer: Optimizer) -> Iterator[list[Optimizer]]:
    """Keeps the members of an optimizer from averaging, while its step is traced.

    Gives those that would have, for `average_weights`.
    """
    members = [
        m for m in optimizer_family(optimizer) if m.use_ema and _AVERAGES in vars(m)
    ]
    for member in members:
        member.use_ema = False
    try:
        yield members
    finally:
        for member in members:
            member.use_ema = True


def average_weights(members: Sequence[Optimizer], made: Tensor | None) -> None:
    """Averages the weights as Keras does, on a replica, after the update was counted.

    Args:
        members: What was held back.
        made: Whether there was an update, or None if there always is.
    """
    for member in members:
        pairs = zip(
            member._trainable_variables,
            member._model_variables_moving_average,
            strict=True,
        )
        kept = [(v, average) for v, average in pairs if average is not None]
        updates = tf.identity(_replica.native(member.iterations))
        # The first update is taken as it is.
        share = tf.where(updates == 1, 1.0, 1.0 - member.ema_momentum)
        share = share if made is None else tf.where(made, share, 0.0)
        averages = [_moved(average, v, share) for v, average in kept]
        _replica.assign([average for _, average in kept], averages)
        every = member.ema_overwrite_frequency
        if every:
            due = updates % every == 0
            due = due if made is None else tf.logical_and(due, made)
            values = [
                tf.where(due, average, _replica.native(v))
                for (v, _), average in zip(kept, averages, strict=True)
            ]
            _replica.assign([v for v, _ in kept], values)


def _moved(average: Variable, variable: Variable, share: Tensor) -> Tensor:
    old, new = _replica.native(average), _replica.native(variable)
    share = tf.cast(share, old.dtype)
    return (1.0 - share) * old + share * new
