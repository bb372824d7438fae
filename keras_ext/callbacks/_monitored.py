"""The value in the logs that a callback monitors."""

from collections.abc import Iterable

import keras

from keras_ext._core._checks import require
from keras_ext._core._typing import Record
from keras_ext._keras._model_runs import arguments_of_fit, watch_runs_of_models

# At import: the first callback may be made within the call of `fit` that it is for.
watch_runs_of_models()


def monitored(
    callback: keras.callbacks.Callback, logs: Record, argument: str = "monitor"
) -> float | None:
    """The monitored value; None after an epoch for which `fit` did not validate.

    Args:
        callback: Whose it is, while it is in a `fit`.
        logs: What the epoch has brought.
        argument: The attribute with the name of the value, and the argument for it.

    Raises:
        ValueError: If there is no such value, and a validation would not bring it.
    """
    name = getattr(callback, argument)
    if name in logs:
        return float(logs[name])
    hint = "Give `fit` validation data." if name.startswith("val_") else ""
    waits = name.startswith("val_") and _is_between_validations(callback.model, logs)
    require(waits, argument, name, f"one of {sorted(logs)}", hint)
    return None


def validations_ahead(model: keras.Model, epoch: int, epochs: int) -> int:
    """How often `fit` will validate in the epochs after one.

    Args:
        model: The model that trains.
        epoch: The present epoch, counted from 0.
        epochs: In which number of epochs it ends.
    """
    every = (arguments_of_fit(model) or {}).get("validation_freq", 1)
    if isinstance(every, Iterable):
        return sum(epoch + 1 < number <= epochs for number in every)
    return max(epochs // every - (epoch + 1) // every, 0)


def _is_between_validations(model: keras.Model, logs: Record) -> bool:
    given = arguments_of_fit(model) or {}
    validates = given.get("validation_data") is not None
    validates |= bool(given.get("validation_split"))
    return validates and not any(name.startswith("val_") for name in logs)
