"""Which epoch `fit` begins, which it tells its callbacks and not its data.

So the two methods of `keras.callbacks.CallbackList` are wrapped, for the process, from
the first time that somebody wants to know. The wrappers change nothing else.
"""

import functools
import threading
from collections.abc import Callable
from typing import Any

import keras

from keras_ext._keras._model_runs import tell_when_runs_end

_begun = threading.local()


def watch_epochs() -> None:
    """Notes from now on which epoch begins."""
    callbacks = keras.callbacks.CallbackList
    if not hasattr(callbacks.on_epoch_begin, "__wrapped__"):
        callbacks.on_epoch_begin = _noting(callbacks.on_epoch_begin)
        callbacks.on_epoch_end = _forgetting(callbacks.on_epoch_end)
        tell_when_runs_end(lambda model: _forget())


def take_epoch() -> int | None:
    """The epoch of the `fit` that asks for its data now; None for all who ask later.

    That is so between `on_epoch_begin` of the callbacks and that of the data.
    """
    epoch = getattr(_begun, "epoch", None)
    _forget()
    return epoch


def _forget() -> None:
    _begun.epoch = None


def _noting(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def on_epoch_begin(self: Any, epoch: int, logs: Any = None) -> None:
        # A callback may read data, too, which are not those of the epoch.
        _forget()
        method(self, epoch, logs)
        _begun.epoch = epoch

    return on_epoch_begin


def _forgetting(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def on_epoch_end(self: Any, epoch: int, logs: Any = None) -> None:
        # The data may have been of another kind, and nobody has taken it.
        _forget()
        method(self, epoch, logs)

    return on_epoch_end
