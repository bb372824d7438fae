"""The losses that a model is compiled with."""

from collections.abc import Callable, Iterator
from typing import Any

import keras

from keras_ext._keras._loss_weights import (
    compiled_loss,
    loss_arguments,
    put_loss_weight,
    user_loss_weights,
)
from keras_ext._live._hyperparameter import FRACTION, STRENGTH, Hyperparameter, into


def of_losses(model: keras.Model) -> Iterator[Hyperparameter]:
    """The smoothing of labels, and the weights of the losses."""
    for loss in keras.tree.flatten(getattr(model, "loss", None)):
        if isinstance(loss, keras.Loss) and "label_smoothing" in vars(loss):
            yield Hyperparameter(
                "loss/label_smoothing",
                "label_smoothing",
                loss,
                loss.label_smoothing,
                FRACTION,
                (into(loss, "label_smoothing"), _into_arguments(loss)),
            )
    for i, (path, weight) in enumerate(_flat_with_path(user_loss_weights(model))):
        yield Hyperparameter(
            "/".join(("loss_weights", *path)) if path else "loss/weight",
            "weight",
            compiled_loss(model),
            weight,
            STRENGTH,
            (_into_weights(model, i),),
        )


def _into_arguments(loss: keras.losses.Loss) -> Callable[[float], None]:
    def place(value: float) -> None:
        loss_arguments(loss)["label_smoothing"] = value

    return place


def _into_weights(model: keras.Model, i: int) -> Callable[[float], None]:
    return lambda value: put_loss_weight(model, i, value)


def _flat_with_path(weights: Any) -> list[tuple[tuple[str, ...], float]]:
    if weights is None:
        return []
    if isinstance(weights, dict):
        return [((str(key),), weights[key]) for key in sorted(weights)]
    if isinstance(weights, list | tuple):
        return [((str(i),), weight) for i, weight in enumerate(weights)]
    return [((), weights)]
