"""What `tf.train.Checkpoint` saves with a model beside its variables."""

from collections.abc import Callable

import keras
import tensorflow as tf

# The attribute of the model, and so the name in a checkpoint.
NAME = "_keras_ext_tracked"


def track_along(
    model: keras.Model, write: Callable[[], bytes], read: Callable[[bytes], None]
) -> Callable[[], None]:
    """Puts something into the checkpoints of a model, until it is taken off.

    A checkpoint that was restored before, and has it, is read at once.

    Args:
        model: The model.
        write: Gives the bytes to save; called before anything of the model is read.
        read: Takes the bytes of a checkpoint that is restored.

    Returns:
        A function that takes it off.
    """
    # Keras's tracking of attributes tells TensorFlow.
    setattr(model, NAME, _Tracked(write, read))

    def undo() -> None:
        if NAME in vars(model):
            delattr(model, NAME)

    return undo


class _Tracked(tf.train.experimental.PythonState):
    def __init__(
        self, write: Callable[[], bytes], read: Callable[[bytes], None]
    ) -> None:
        self._write = write
        self._read = read
        self._content = b""

    def _trackable_children(self, *args: object, **kwargs: object) -> dict[str, object]:
        # Asked while TensorFlow looks for what there is to save, so before it reads.
        self._content = self._write()
        return super()._trackable_children(*args, **kwargs)

    def serialize(self) -> bytes:
        return self._content

    def deserialize(self, string_value: bytes) -> None:
        if string_value:
            self._read(bytes(string_value))
