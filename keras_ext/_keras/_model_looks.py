"""Being asked before and after methods of models that look at weights or set them.

An optimizer that trains other weights than those that a model is to be judged by has to
change them in time, one that leaves out updates has to take back what their batches
have left in layers, and neither knows its model. So these methods of `keras.Model` are
wrapped, for the whole process, from the first time that somebody wants to know. For
models whose optimizer is none of these the wrappers change nothing.
"""

import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

import keras

from keras_ext._core._typing import Function, Record

# Methods by what they do with the weights: train them, judge or hand them out, or set
# them from outside. `load_weights` brings the state of the optimizer as well.
_KINDS = {
    "train": ("fit", "train_on_batch"),
    "look": (
        "evaluate",
        "predict",
        "test_on_batch",
        "predict_on_batch",
        "save",
        "save_weights",
        "export",
        "get_weights",
    ),
    "set": ("set_weights",),
    "load": ("load_weights",),
}

# From the model, the kind and the arguments to what surrounds the call.
Around = Callable[[keras.Model, str, Record], AbstractContextManager[None]]


# The wrappers that were made, and what they surround the methods with.
_made: set[Function] = set()
_arounds: list[Around] = []


def surround_looks(around: Around) -> None:
    """Calls the methods of all models within what a function gives, from now on.

    Called again, it wraps those methods that are no longer wrapped: who had put another
    one in place for a time, as tests do, has put back what was there before.
    """
    if around not in _arounds:
        _arounds.append(around)
    for kind, names in _KINDS.items():
        for name in names:
            method = getattr(keras.Model, name)
            if not _is_surrounded(method):
                wrapper = _surrounded(method, kind)
                _made.add(wrapper)
                setattr(keras.Model, name, wrapper)


def _is_surrounded(method: Function | None) -> bool:
    while method is not None and method not in _made:
        method = getattr(method, "__wrapped__", None)
    return method is not None


def _surrounded(method: Function, kind: str) -> Function:
    signature = inspect.signature(method)

    @functools.wraps(method)
    def call(self: keras.Model, *args: object, **kwargs: object) -> object:
        try:
            arguments = signature.bind(self, *args, **kwargs).arguments
        except TypeError:
            # The method says so better.
            return method(self, *args, **kwargs)
        with ExitStack() as stack:
            for around in _arounds:
                stack.enter_context(around(self, kind, arguments))
            return method(self, *args, **kwargs)

    return call
