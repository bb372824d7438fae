"""A custom `train_step` that goes past the optimizer, found out."""

from collections.abc import Callable
from typing import Any

import keras

from keras_ext.core._checks import require
from keras_ext.core._replaced_method import replace_method


def fail_if_unused(model: keras.Model, optimizer: Any) -> Callable[[], None]:
    """Makes a custom `train_step` that never applies the optimizer fail.

    It does so while it is traced, before anything is computed. Returns what undoes it.
    """
    if type(model).train_step is keras.Model.train_step:
        return lambda: None
    custom_step = model.train_step

    def train_step(*args: Any, **kwargs: Any) -> Any:
        optimizer.was_applied = False
        result = custom_step(*args, **kwargs)
        if not optimizer.was_applied:
            restore()
            optimizer.detach()
            require(
                False,
                "model.train_step",
                custom_step,
                "one that calls model.optimizer.apply(...)",
                hint="The callbacks see no gradient in this model.",
            )
        return result

    restore = replace_method(model, "train_step", train_step)
    return restore
