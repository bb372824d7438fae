"""Being told when `fit`, `evaluate` or `predict` of a model ends, in whatever way.

Keras tells callbacks of the end of a `fit` that goes well, and of no other, and of the
arguments of `fit` it tells three numbers. So the three methods of `keras.Model` are
wrapped, for the whole process, from the first time that somebody wants to know. The
wrappers change nothing else.
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import keras

from keras_ext._core._typing import Function, Record

_METHODS = ("fit", "evaluate", "predict")
# On a model, how many of these runs there are of it, one inside the other.
_DEPTH = "_keras_ext_runs"

_listeners: list[Callable[[keras.Model], None]] = []
# Not on the model: they hold its data, and must not be saved or copied with it.
_fit_arguments: WeakKeyDictionary[keras.Model, Record] = WeakKeyDictionary()


def tell_when_runs_end(listener: Callable[[keras.Model], None]) -> None:
    """Calls a function with the model whenever an outermost run of it has ended.

    Args:
        listener: The function. It is added once.
    """
    watch_runs_of_models()
    if listener not in _listeners:
        _listeners.append(listener)


@functools.cache
def watch_runs_of_models() -> None:
    """Wraps the three methods, once.

    A module that asks for `arguments_of_fit` calls it when it is imported:
    `model.fit(callbacks=[...])` looks `fit` up before it makes the callbacks.
    """
    for name in _METHODS:
        setattr(keras.Model, name, _told(getattr(keras.Model, name)))


def is_running(model: keras.Model) -> bool:
    """Whether one of the three methods of this model is being executed."""
    return vars(model).get(_DEPTH, 0) > 0


def arguments_of_fit(model: keras.Model) -> Record | None:
    """The arguments of the `fit` that is running, with defaults; None if none is."""
    return _fit_arguments.get(model)


@contextmanager
def _noted_arguments(
    method: Function,
    model: keras.Model,
    args: Sequence[object],
    kwargs: Mapping[str, object],
) -> Iterator[None]:
    before = _fit_arguments.get(model)
    if method.__name__ == "fit":
        try:
            bound = inspect.signature(method).bind(model, *args, **kwargs)
        except TypeError:
            # `fit` says so better.
            yield
            return
        bound.apply_defaults()
        _fit_arguments[model] = bound.arguments
    try:
        yield
    finally:
        if before is not None:
            _fit_arguments[model] = before
        else:
            _fit_arguments.pop(model, None)


def _told(method: Function) -> Function:
    @functools.wraps(method)
    def run(self: keras.Model, *args: object, **kwargs: object) -> object:
        depth = vars(self).get(_DEPTH, 0)
        # Past Keras's attribute tracking.
        object.__setattr__(self, _DEPTH, depth + 1)
        try:
            with _noted_arguments(method, self, args, kwargs):
                return method(self, *args, **kwargs)
        finally:
            if depth > 0:
                object.__setattr__(self, _DEPTH, depth)
            else:
                object.__delattr__(self, _DEPTH)
                for listener in _listeners:
                    listener(self)

    return run
