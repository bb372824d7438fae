"""Keeping an optimizer of Keras from summing over the replicas."""

from collections.abc import Iterator
from contextlib import contextmanager

from keras_ext._core._typing import Optimizer
from keras_ext._keras._optimizer_family import optimizer_family

# Read by `TFOptimizer._backend_update_step` in Keras 3.14 and 3.15.
_ALL_REDUCE = "_all_reduce_sum_gradients"


@contextmanager
def gradients_already_reduced(optimizer: Optimizer) -> Iterator[None]:
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


def receives_reduced_gradients(optimizer: Optimizer) -> bool:
    """Whether `gradients_already_reduced` is in force for this optimizer."""
    return _ALL_REDUCE in vars(optimizer)
