"""Being told when `fit`, `evaluate` or `predict` of a model ends, in whatever way.

Keras tells callbacks of the end of a `fit` that goes well, and of no other. So the
three methods of `keras.Model` are wrapped, for the whole process, from the first time
that somebody wants to know. The wrappers change nothing else.
"""

import functools
from collections.abc import Callable
from typing import Any

import keras

_METHODS = ("fit", "evaluate", "predict")
# On a model, how many of these runs there are of it, one inside the other.
_DEPTH = "_keras_ext_runs"

_listeners: list[Callable[[keras.Model], None]] = []


def tell_when_runs_end(listener: Callable[[keras.Model], None]) -> None:
    """Calls a function with the model whenever an outermost run of it has ended.

    Args:
        listener: The function. It is added once.
    """
    if not _listeners:
        for name in _METHODS:
            setattr(keras.Model, name, _told(getattr(keras.Model, name)))
    if listener not in _listeners:
        _listeners.append(listener)


def is_running(model: keras.Model) -> bool:
    """Whether one of the three methods of this model is being executed."""
    return vars(model).get(_DEPTH, 0) > 0


def _told(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def run(self: keras.Model, *args: Any, **kwargs: Any) -> Any:
        depth = vars(self).get(_DEPTH, 0)
        # Past Keras's attribute tracking.
        object.__setattr__(self, _DEPTH, depth + 1)
        try:
            return method(self, *args, **kwargs)
        finally:
            if depth > 0:
                object.__setattr__(self, _DEPTH, depth)
            else:
                object.__delattr__(self, _DEPTH)
                for listener in _listeners:
                    listener(self)

    return run
