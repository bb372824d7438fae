"""Attention layers of Keras."""

from collections.abc import Iterator

from keras_ext._core._paths import joined
from keras_ext._core._typing import Layer
from keras_ext._keras._dropout_internals import inner_dropout, is_attention, rate_name
from keras_ext._live._hyperparameter import RATE, Hyperparameter
from keras_ext._live.places._dropout import prepare_random


def of_attention(layer: Layer, path: str) -> Iterator[Hyperparameter]:
    """The rate for the scores, which the layer and one inside of it both keep."""
    if not is_attention(layer):
        return
    name = rate_name(layer)

    def place(value: float) -> None:
        object.__setattr__(layer, name, value)
        object.__setattr__(inner_dropout(layer), "rate", value)

    yield Hyperparameter(
        joined(path, "dropout"),
        "dropout",
        layer,
        getattr(layer, name),
        RATE,
        (place,),
        lambda: prepare_random(inner_dropout(layer)),
    )
