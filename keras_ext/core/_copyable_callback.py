"""Callbacks that can be copied at any time."""

from copy import deepcopy
from typing import Any

import keras


class CopyableCallback(keras.callbacks.Callback):
    """A callback whose copy is as the original was before its first `fit`.

    KerasTuner copies callbacks, maybe used ones, before each trial. What a `fit` has
    left in them belongs to its model, and cannot be copied: a copy takes over the
    attributes that there were when the first `fit` began.
    """

    def set_model(self, model: keras.Model) -> None:
        if "_lasting" not in vars(self):
            self._lasting = tuple(vars(self))
        super().set_model(model)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        for name in vars(self).get("_lasting", tuple(vars(self))):
            value = None if name == "_model" else vars(self)[name]
            setattr(copied, name, deepcopy(value, memo))
        return copied
