"""Sees to it that trainings are known from their begin to their end."""

import keras

from keras_ext._anatomy._linked_method import Method
from keras_ext._core._typing import Logs
from keras_ext._fit._copyable_callback import CopyableCallback
from keras_ext._fit._fit_scope import close_left_open
from keras_ext._fit._training_run import TrainingRun, keep_memory
from keras_ext._keras._callback_lists import put_around
from keras_ext._keras._model_runs import is_running, tell_when_runs_end
from keras_ext._keras._saved_along import save_along


def watch_trainings() -> None:
    """Makes files of models, and lists of callbacks, know of trainings.

    Called once, when the package is imported: a model may be loaded before there is any
    callback, and `model.fit` is looked up before the callbacks in it are made. Lists
    without callbacks of this library, and files of models that are in no training with
    one, stay as they are.
    """
    tell_when_runs_end(_close_what_is_left)
    save_along(_written, _read)
    put_around("set_model", _around_set_model)
    put_around("on_epoch_begin", _around_epoch_begin)
    put_around("on_epoch_end", _around_epoch_end)
    put_around("on_train_end", _around_train_end)


def _close_what_is_left(model: keras.Model) -> None:
    """Undoes what a run that ended, in whatever way, has left on its model."""
    close_left_open(model)
    run = TrainingRun.present(model)
    if run is not None and run.in_fit:
        run.close()


def _written(model: keras.Model) -> bytes:
    """What is saved with a model: nothing, unless it is in a training."""
    run = TrainingRun.present(model)
    return b"" if run is None else run.write()


def _read(model: keras.Model, content: bytes) -> None:
    """Takes in what was in a file of Keras."""
    run = TrainingRun.present(model)
    if run is None:
        keep_memory(model, content, goes_on=False)
    else:
        run.read(content)


def _around_set_model(
    owner: keras.callbacks.CallbackList, set_model: Method, model: keras.Model | None
) -> None:
    """Opens a run for a list with callbacks of this library.

    Args:
        owner: The list.
        set_model: The method itself.
        model: Its argument.
    """
    ours = [c for c in owner.callbacks if isinstance(c, CopyableCallback)]
    if not ours or model is None or _is_inside(model):
        set_model(model)
        return
    run = TrainingRun(model, ours, owner)
    run.open()
    try:
        set_model(model)
    except BaseException:
        run.close()
        raise


def _is_inside(model: keras.Model) -> bool:
    """Whether a list is that of an `evaluate` or `predict` within a training."""
    run = TrainingRun.present(model)
    return run is not None and run.in_fit and is_running(model)


def _around_epoch_begin(
    owner: keras.callbacks.CallbackList,
    on_epoch_begin: Method,
    epoch: int,
    logs: Logs = None,
) -> None:
    """Lets the first epoch go on with what was remembered."""
    run = TrainingRun.of_list(owner)
    if run is not None:
        run.begin_epoch(epoch)
    on_epoch_begin(epoch, logs)


def _around_epoch_end(
    owner: keras.callbacks.CallbackList,
    on_epoch_end: Method,
    epoch: int,
    logs: Logs = None,
) -> None:
    """Lets whoever saves find all callbacks done with the epoch."""
    run = TrainingRun.of_list(owner)
    if run is None:
        on_epoch_end(epoch, logs)
        return
    with run.ending(epoch):
        on_epoch_end(epoch, logs)


def _around_train_end(
    owner: keras.callbacks.CallbackList, on_train_end: Method, logs: Logs = None
) -> None:
    """Closes the run, and leaves plain numbers in `history.params`."""
    run = TrainingRun.of_list(owner)
    on_train_end(logs)
    for name, value in (owner.params or {}).items():
        # A count that follows the size of batches, or a number of NumPy.
        if hasattr(value, "__index__") and type(value) not in (int, bool):
            owner.params[name] = int(value)
    if run is not None:
        run.close()
