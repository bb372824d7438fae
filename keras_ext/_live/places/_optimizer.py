"""Optimizers of Keras."""

from collections.abc import Iterator

import keras

from keras_ext._core._checks import is_number
from keras_ext._keras._optimizer_family import optimizer_family
from keras_ext._live._hyperparameter import (
    FRACTION,
    STRENGTH,
    Hyperparameter,
    attribute,
)

_NUMBERS = {
    "weight_decay": STRENGTH,
    **dict.fromkeys(("momentum", "beta_1", "beta_2", "rho"), FRACTION),
}


def of_optimizer(model: keras.Model) -> Iterator[Hyperparameter]:
    """The decay and the momenta of the optimizer, and of those inside of it."""
    present = getattr(model, "optimizer", None)
    for optimizer in optimizer_family(present) if present is not None else ():
        for name, kind in _NUMBERS.items():
            value = vars(optimizer).get(name)
            # A momentum of 0 has no state to keep it in.
            if is_number(value) and (name != "momentum" or value != 0):
                yield attribute(optimizer, name, "optimizer", kind)
