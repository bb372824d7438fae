"""Lets workers other than the chief write to a temporary folder.

They may not simply leave it: saving may read values that are summed over the workers,
and then waits until all do so.
"""

import functools
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import keras

from keras_ext._core._typing import Function, Logs

# Where the callbacks of Keras have the path that they write to.
_PATHS = {
    keras.callbacks.CSVLogger: "filename",
    keras.callbacks.TensorBoard: "log_dir",
}


@contextmanager
def only_chief_writes() -> Iterator[None]:
    """To be entered by the workers that are not the chief."""
    set_model = keras.callbacks.CallbackList.set_model
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def set_model_and_paths(
            callbacks: keras.callbacks.CallbackList, model: keras.Model
        ) -> None:
            for callback in callbacks.callbacks:
                _divert(callback, folder, stack)
            set_model(callbacks, model)

        for name in ("save", "save_weights", "export"):
            diverted = _diverted(getattr(keras.Model, name), folder)
            _replace(stack, keras.Model, name, diverted)
        _replace(stack, keras.callbacks.CallbackList, "set_model", set_model_and_paths)
        yield


def _replace(stack: ExitStack, owner: object, name: str, value: object) -> None:
    """Sets an attribute until the stack is closed."""
    if name in vars(owner):
        stack.callback(setattr, owner, name, vars(owner)[name])
    else:
        stack.callback(delattr, owner, name)
    setattr(owner, name, value)


def _diverted(write: Function, folder: Path) -> Function:
    @functools.wraps(write)
    def divert(
        self: keras.Model, filepath: str | Path, *args: object, **kwargs: object
    ) -> None:
        # Only the name says what format to write.
        path = folder / "saved" / Path(str(filepath)).name
        path.parent.mkdir(exist_ok=True)
        return write(self, str(path), *args, **kwargs)

    return divert


def _divert(callback: keras.callbacks.Callback, folder: Path, stack: ExitStack) -> None:
    for kind, name in _PATHS.items():
        if isinstance(callback, kind):
            path = folder / f"{id(callback)}" / Path(getattr(callback, name)).name
            path.parent.mkdir(exist_ok=True)
            _replace(stack, callback, name, str(path))
    restores = isinstance(callback, keras.callbacks.BackupAndRestore)
    if restores and "on_epoch_end" not in vars(callback):
        _divert_backup(callback, folder, stack)


def _divert_backup(
    callback: keras.callbacks.BackupAndRestore, folder: Path, stack: ExitStack
) -> None:
    """Restores from the chief's folder, and hands the writing to another callback."""
    writer = keras.callbacks.BackupAndRestore(
        str(folder / f"{id(callback)}"),
        save_freq=callback.save_freq,
        double_checkpoint=callback.double_checkpoint,
        delete_checkpoint=callback.delete_checkpoint,
    )
    begin = callback.on_train_begin

    def on_train_begin(logs: Logs = None) -> None:
        writer.set_model(callback.model)
        begin(logs)

    hooks = {name: getattr(writer, name) for name in ("on_epoch_end", "on_train_end")}
    hooks["on_train_batch_end"] = writer.on_train_batch_end
    hooks["on_train_begin"] = on_train_begin
    for name, hook in hooks.items():
        _replace(stack, callback, name, hook)
