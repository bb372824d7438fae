"""The optimizers that an optimizer is made of."""

from typing import Any

import keras

from keras_ext._core._typing import Optimizer


def optimizer_family(optimizer: Optimizer) -> list[Any]:
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
