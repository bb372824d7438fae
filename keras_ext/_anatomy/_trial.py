"""Calling what users write with what it takes, and finding out early what fails."""

import inspect

import keras
import tensorflow as tf

from keras_ext._core._checks import cut
from keras_ext._core._typing import Data, Function, Record, Tensor

# So long a message of somebody else is still read.
_LONGEST = 240
# What Python and Keras raise where something is missing or does not fit together.
_CANNOT_WORK = (ValueError, TypeError, NotImplementedError, AttributeError, LookupError)


def called(model: keras.Model, x: Data, training: bool) -> Data:
    """Calls a model, whether or not its `call` takes `training`."""
    return model(x, **_taken(model.call, training=training))


def loss_of(
    model: keras.Model, x: Data, y: Data, sample_weight: Data, training: bool
) -> Tensor:
    """The loss of a batch, also of a `compute_loss` that does not take `training`."""
    y_pred = called(model, x, training)
    options = _taken(model.compute_loss, training=training)
    return model.compute_loss(x, y, y_pred, sample_weight, **options)


def _taken(method: Function, **options: object) -> Record:
    """Those of some arguments that a method takes."""
    parameters = inspect.signature(method).parameters.values()
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
    names = {p.name for p in parameters}
    return {n: value for n, value in options.items() if takes_all or n in names}


def trace_early(
    function: tf.types.experimental.PolymorphicFunction,
    batch: Data,
    name: str,
    what: str,
) -> None:
    """Traces a `tf.function` for a batch, so that what fails does so before training.

    Nothing is computed, and the model stays as it is.

    Args:
        function: The function.
        batch: Its arguments.
        name: The argument that the batch comes from.
        what: What the function computes.

    Raises:
        ValueError: If it fails, with the reason.
    """
    try:
        function.get_concrete_function(*batch)
    except _CANNOT_WORK as error:
        reason = f"{type(error).__name__}: {cut(str(error).strip(), _LONGEST)}"
        raise ValueError(
            f"`{name}` must be data from which {what} of this model can be computed. "
            f"That failed, before training, with {reason}"
        ) from error
