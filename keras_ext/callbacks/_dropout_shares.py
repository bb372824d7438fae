"""How much each dropout layer takes part in a common move."""

import math
from collections.abc import Sequence

import keras

from keras_ext.core._sublayers import sublayers

RULES = ("capacity", "depth", "shallow")


def shares(
    model: keras.Model, dropouts: Sequence[keras.Layer], rule: str | None
) -> list[float]:
    """Returns the share of each layer, with a mean of 1.

    Args:
        model: A built model, whose layers are in the order from input to output.
        dropouts: Dropout layers of the model, in its order.
        rule: `"capacity"`, `"depth"`, `"shallow"`, or None: all the same.
    """
    count = len(dropouts)
    if rule is None:
        return [1.0] * count
    if rule == "capacity":
        sizes = [math.sqrt(_capacity_after(model, layer)) for layer in dropouts]
    else:
        sizes = [float(i + 1) for i in range(count)]
        sizes = sizes if rule == "depth" else sizes[::-1]
    return [size * count / sum(sizes) for size in sizes]


def _capacity_after(model: keras.Model, dropout: keras.Layer) -> int:
    """The parameters of the next layer with a kernel, which gets what is dropped."""
    order = sublayers(model)
    for layer in order[order.index(dropout) + 1 :]:
        kernels = [w for w in _own_weights(layer) if len(w.shape) > 1]
        if kernels:
            return sum(math.prod(w.shape) for w in kernels)
    # The last: what comes after it is one value for each input.
    return 1


def _own_weights(layer: keras.Layer) -> list[keras.Variable]:
    # A model in the model is there with its layers, too.
    return [] if isinstance(layer, keras.Model) else layer.trainable_weights
