"""Where Keras keeps what `compile` was told about losses.

Private names: `_compile_loss` and `_compile_config` of a model, `_user_loss_weights`
and `_flat_losses` of the compiled loss, `_fn_kwargs` of a loss.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import keras

from keras_ext._core._typing import Record

Weights = TypeVar("Weights")


def compiled_loss(model: keras.Model) -> Any:
    """The object in which Keras has put together the losses, or None without any."""
    return getattr(model, "_compile_loss", None)


def user_loss_weights(
    model: keras.Model,
) -> float | Sequence[float] | Mapping[str, float] | None:
    """What `compile` got as `loss_weights`."""
    compiled = compiled_loss(model)
    return None if compiled is None else compiled._user_loss_weights


def losses_of_outputs(model: keras.Model) -> list[Any]:
    """What `compile` got as the loss of each output, in the order of `outputs`."""
    return of_each_output(model, model.loss)


def of_each_output(model: keras.Model, given: Any) -> list[Any]:
    """What is given for each output: by its name, by its place, or one for all.

    Args:
        model: A functional or `Sequential` model.
        given: Losses or their weights, as `compile` takes them.
    """
    if len(model.outputs) == 1:
        return list(keras.tree.flatten(given))
    # A dictionary has its leaves in the order of its keys.
    is_dict = isinstance(model.output, dict)
    names = sorted(model.output) if is_dict else model.output_names
    if isinstance(given, dict):
        return [given.get(name) for name in names]
    return list(given) if isinstance(given, list | tuple) else [given] * len(names)


def put_loss_weight(model: keras.Model, i: int, value: float) -> None:
    """Changes one of the weights, in the order of `keras.tree.flatten`."""
    compiled = compiled_loss(model)
    compiled._user_loss_weights = _replaced(compiled._user_loss_weights, i, value)
    saved = model._compile_config.config
    saved["loss_weights"] = _replaced(saved["loss_weights"], i, float(value))
    if compiled._flat_losses:
        # What was made of the weights when the first batch came.
        compiled._flat_losses[i] = compiled._flat_losses[i]._replace(loss_weights=value)


def _replaced(weights: Weights, i: int, value: float) -> Weights:
    flat = keras.tree.flatten(weights)
    flat[i] = value
    return keras.tree.pack_sequence_as(weights, flat)


def loss_arguments(loss: keras.losses.Loss) -> Record:
    """The arguments that a loss gives to its function."""
    return loss._fn_kwargs
