"""Being around what a list of callbacks does.

`fit` makes a `keras.callbacks.CallbackList` and calls that; loops without `fit` may do
so too. Its methods are wrapped, for the whole process.
"""

import functools
from collections.abc import Callable
from typing import Any

import keras

Method = Callable[..., Any]
# From the list, the method within and its arguments.
Around = Callable[..., Any]


def put_around(name: str, around: Around) -> None:
    """Calls a function in the place of a method of all lists of callbacks.

    Args:
        name: The name of the method.
        around: Function of the list, the method as it was, bound to the list, and the
            arguments.
    """
    method = getattr(keras.callbacks.CallbackList, name)

    @functools.wraps(method)
    def call(
        self: keras.callbacks.CallbackList, *args: object, **kwargs: object
    ) -> object:
        bound = functools.partial(method, self)
        return around(self, bound, *args, **kwargs)

    setattr(keras.callbacks.CallbackList, name, call)
