"""What is saved in the files of a model beside its weights, and read with them.

Private names: `KerasSaveable`, the base of what Keras finds when it goes through the
attributes of a model to save or load it, and its `_obj_type`. A file that has more than
the model asks for loads everywhere: Keras reads what its objects name.
"""

import weakref
from collections.abc import Callable, MutableMapping

import keras
import numpy as np
from keras.src.saving.keras_saveable import KerasSaveable  # noqa: TID251

# The attribute of a model, and so the name of the group in a file.
_NAME = "_keras_ext_along"
_KEY = "state"

Write = Callable[[keras.Model], bytes]
Read = Callable[[keras.Model, bytes], None]

# Of each model, and not on it. Keras knows by their identities what it has saved, so
# they have to live as long as the model.
_along: "weakref.WeakKeyDictionary[keras.Model, _Along]" = weakref.WeakKeyDictionary()


def save_along(write: Write, read: Read) -> None:
    """Puts something into the files of all models, for the whole process.

    Args:
        write: Gives the bytes that are saved with a model; none, to save nothing.
        read: Takes the bytes that came with a model. Not called if there were none.
    """

    def along(model: keras.Model) -> _Along:
        if model not in _along:
            _along[model] = _Along(model, write, read)
        return _along[model]

    setattr(keras.Model, _NAME, property(along))


class _Along(KerasSaveable):
    def __init__(self, model: keras.Model, write: Write, read: Read) -> None:
        # Weakly: it is the value of which the model is the key.
        self._model: weakref.ref[keras.Model] = weakref.ref(model)
        self._write = write
        self._read = read

    def _obj_type(self) -> str:
        # Any that Keras knows: it says which attributes are not looked into.
        return "Loss"

    def save_own_variables(self, store: MutableMapping[str, np.ndarray]) -> None:
        content = self._write(self._model())
        if content:
            store[_KEY] = np.frombuffer(content, "uint8")

    def load_own_variables(self, store: MutableMapping[str, np.ndarray]) -> None:
        if _KEY in store.keys():  # noqa: SIM118, a store of Keras has no `in` for all
            self._read(self._model(), np.asarray(store[_KEY]).tobytes())
