"""What is assigned to an attribute of a layer, optimizer, loss or regularizer.

Patched at the class: `__setattr__` of the four bases. An object cannot answer for
itself, since Python looks this method up at its class, and a class of its own would
show in what is saved.
"""

import functools
from collections.abc import Callable

import keras

_BASES = (
    keras.Layer,
    keras.Optimizer,
    keras.Loss,
    keras.Regularizer,
)


@functools.cache
def hear_assignments(taken: Callable[[object, object], bool]) -> None:
    """Asks a function before an attribute is set, from now on.

    Args:
        taken: Gets what the attribute holds and what is assigned; returns whether it
            has dealt with it, so that the attribute keeps what it holds.
    """
    for base in _BASES:
        base.__setattr__ = _asking(taken, base.__setattr__)


def _asking(
    taken: Callable[[object, object], bool],
    assign: Callable[[object, str, object], None],
) -> Callable[[object, str, object], None]:
    @functools.wraps(assign)
    def assign_or_ask(self: object, name: str, value: object) -> None:
        if not taken(vars(self).get(name), value):
            assign(self, name, value)

    return assign_or_ask
