"""Which epoch `fit` begins, which it tells its callbacks and not its data.

So the two methods of `keras.callbacks.CallbackList` are wrapped, for the process, from
the first time that somebody wants to know. The wrappers change nothing else.
"""

import threading

import keras

from keras_ext._core._typing import Logs
from keras_ext._keras._callback_lists import Method, put_around
from keras_ext._keras._model_runs import tell_when_runs_end

_begun = threading.local()
_watching: list[bool] = []


def watch_epochs() -> None:
    """Notes from now on which epoch begins."""
    if not _watching:
        _watching.append(True)
        put_around("on_epoch_begin", _note)
        put_around("on_epoch_end", _forget_first)
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


def _note(
    callbacks: keras.callbacks.CallbackList,
    on_epoch_begin: Method,
    epoch: int,
    logs: Logs = None,
) -> None:
    # A callback may read data, too, which are not those of the epoch.
    _forget()
    on_epoch_begin(epoch, logs)
    _begun.epoch = epoch


def _forget_first(
    callbacks: keras.callbacks.CallbackList,
    on_epoch_end: Method,
    epoch: int,
    logs: Logs = None,
) -> None:
    # The data may have been of another kind, and nobody has taken it.
    _forget()
    on_epoch_end(epoch, logs)
