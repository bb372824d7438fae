"""Being asked before and after methods of models that look at weights or set them.

An optimizer that trains other weights than those that a model is to be judged by has to
change them in time, and does not know its model. So these methods of `keras.Model` are
wrapped, for the whole process, from the first time that somebody wants to know. For
models whose optimizer is none of these the wrappers change nothing.
"""

import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

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


@functools.cache
def surround_looks(around: Around) -> None:
    """Calls the methods of all models within what a function gives, from now on."""
    for kind, names in _KINDS.items():
        for name in names:
            method = getattr(keras.Model, name)
            setattr(keras.Model, name, _surrounded(method, kind, around))


def _surrounded(method: Function, kind: str, around: Around) -> Function:
    signature = inspect.signature(method)

    @functools.wraps(method)
    def call(self: keras.Model, *args: Any, **kwargs: Any) -> Any:
        try:
            arguments = signature.bind(self, *args, **kwargs).arguments
        except TypeError:
            # The method says so better.
            return method(self, *args, **kwargs)
        with around(self, kind, arguments):
            return method(self, *args, **kwargs)

    return call
