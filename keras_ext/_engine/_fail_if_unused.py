"""A custom `train_step` that goes past the optimizer, found out."""

import keras

from keras_ext._core._checks import require
from keras_ext._core._typing import Function, Optimizer, Record
from keras_ext._fit._fit_scope import FitScope


def fail_if_unused(scope: FitScope, optimizer: Optimizer) -> None:
    """Makes a custom `train_step` that never applies the optimizer fail.

    It does so while it is traced, before anything is computed.
    """
    if type(scope.model).train_step is keras.Model.train_step:
        return

    def link(step: Function) -> Function:
        def train_step(*args: object, **kwargs: object) -> Record:
            optimizer.was_applied = False
            result = step(*args, **kwargs)
            require(
                optimizer.was_applied,
                "model.train_step",
                step,
                "one that calls model.optimizer.apply(...)",
                hint="The callbacks see no gradient in this model.",
            )
            return result

        return train_step

    scope.link("train_step", link)
