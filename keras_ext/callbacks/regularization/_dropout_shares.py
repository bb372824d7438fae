"""How much each dropout layer takes part in a common move."""

import math
from collections.abc import Sequence

import keras

from keras_ext._anatomy._fixed_data import FixedData
from keras_ext._anatomy._sublayers import sublayers
from keras_ext._core._typing import Variable
from keras_ext.signals.gradients._gradient_disagreement import GradientDisagreement
from keras_ext.signals.model._mask_variance import MaskVariance

RULES = ("capacity", "depth", "shallow", "disagreement", "variance")
# One less a cosine in float32 says nothing below this.
_ROUNDING = 1e-4


class DropoutShares:
    """The share of each dropout layer in a move, with a mean of 1.

    Args:
        model: The model, whose layers are in the order from input to output.
        dropouts: Dropout layers of the model, in its order.
        rule: One of `RULES`, or None: all the same.
        training: Training data.
        validation: Data that is not trained on.
    """

    def __init__(
        self,
        model: keras.Model,
        dropouts: Sequence[keras.Layer],
        rule: str | None,
        training: FixedData,
        validation: FixedData,
    ) -> None:
        self._model = model
        self._dropouts = list(dropouts)
        self._rule = rule
        self._data = (training, validation)
        self._measures: GradientDisagreement | MaskVariance | None = None

    def measure(self) -> list[float]:
        """Returns the shares as they are now, of a model that is built."""
        count = len(self._dropouts)
        sizes = self._sizes()
        total = math.fsum(sizes)
        if not (math.isfinite(total) and total > 0):
            return [1.0] * count
        return [size * count / total for size in sizes]

    def _sizes(self) -> list[float]:
        model, dropouts = self._model, self._dropouts
        if self._rule == "capacity":
            weights = [weights_after(model, layer) for layer in dropouts]
            # After the last one comes one value for each input.
            return [math.sqrt(max(_size(group), 1)) for group in weights]
        if self._rule == "disagreement":
            if self._measures is None:
                groups = [_weights_near(model, layer) for layer in dropouts]
                self._measures = GradientDisagreement(model, groups, *self._data)
            return [max(x, _ROUNDING) for x in self._measures.measure()]
        if self._rule == "variance":
            if self._measures is None:
                self._measures = MaskVariance(model, dropouts, self._data[0])
            return [math.sqrt(variance) for variance in self._measures.measure()]
        places = [float(i + 1) for i in range(len(dropouts))]
        by_place = {"depth": places, "shallow": places[::-1]}
        return by_place.get(self._rule or "", [1.0] * len(dropouts))


def weights_after(model: keras.Model, dropout: keras.Layer) -> list[Variable]:
    """The kernels of the next layer that has any, which gets what is dropped."""
    order = sublayers(model)
    return _first_kernels(order[order.index(dropout) + 1 :])


def _weights_near(model: keras.Model, dropout: keras.Layer) -> list[Variable]:
    """Those after it or, for the last, before it."""
    order = sublayers(model)
    before = order[: order.index(dropout)]
    return weights_after(model, dropout) or _first_kernels(before[::-1])


def _first_kernels(layers: Sequence[keras.Layer]) -> list[Variable]:
    for layer in layers:
        # A model in the model is there with its layers, too.
        own = [] if isinstance(layer, keras.Model) else layer.trainable_weights
        kernels = [w for w in own if len(w.shape) > 1]
        if kernels:
            return kernels
    return []


def _size(weights: Sequence[Variable]) -> int:
    return sum(math.prod(w.shape) for w in weights)
