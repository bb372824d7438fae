"""Mean and variance of what layers get as input."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_ext._anatomy._kept_values import kept_values
from keras_ext._anatomy._linked_method import Link, Method, linked_calls
from keras_ext._anatomy._trial import called
from keras_ext._core._dtypes import wide_dtype
from keras_ext._core._typing import Data, Layer, Record, Tensor

# Of each channel: how many values, their mean and their variance.
Moments = tuple[Tensor, Tensor, Tensor]
# What a layer was called with: the inputs, their mask, and the axis of the channels.
_Given = tuple[Tensor, Tensor | None, int]


class InputMoments:
    """Measures the inputs of normalization layers over data, for each channel.

    Args:
        model: The model.
        norms: The layers to watch, with an attribute `axis`.
        training: Layers that are to run as in training. All others run as in
            inference.
    """

    def __init__(
        self,
        model: keras.Model,
        norms: Sequence[keras.Layer],
        training: Sequence[keras.Layer] = (),
    ) -> None:
        self._model = model
        # In the order in which they are called, which is known when it is traced.
        self.norms: list[keras.Layer] = []
        self._watched = list(norms)
        self._training = list(training)
        # TensorFlow counts traces by the code, and would warn of those of many models.
        self._of_batch = tf.function(
            partial(self._moments), autograph=False, reduce_retracing=True
        )

    def measure(self, batches: Iterable[tuple[Data, Data, Data]]) -> list[Moments]:
        """Returns the moments for each of `norms`, over all rows of all batches.

        Args:
            batches: Yields `(x, y, sample_weight)`.
        """
        total: list[Moments] = []
        # Batch normalization in training moves its statistics, noise its seed.
        with kept_values(self._model.non_trainable_variables):
            for x, _, _ in batches:
                batch = self._of_batch(x)
                joined = map(_joined, total, batch) if total else batch
                total = [tuple(map(np.asarray, moments)) for moments in joined]
        return total

    def _moments(self, x: Data) -> list[Moments]:
        records: list[tuple[keras.Layer, _Given]] = []
        with _stand_ins(self._watched, self._training, records):
            called(self._model, x, training=False)
        # A layer that is called twice has two records.
        self.norms = list(dict.fromkeys(layer for layer, _ in records))
        return [
            _of_tensors([r for layer, r in records if layer is norm])
            for norm in self.norms
        ]


def _stand_ins(
    watched: Sequence[keras.Layer],
    training: Sequence[keras.Layer],
    records: list[tuple[keras.Layer, _Given]],
) -> AbstractContextManager[None]:
    """Replaces the `call` of layers while the model is called once."""

    def link_of(layer: keras.Layer) -> Link:
        options = {"training": True} if layer in training else {}
        return _calling(layer, options, records if layer in watched else None)

    return linked_calls(dict.fromkeys([*watched, *training]), link_of)


def _calling(
    layer: Layer, options: Record, records: list[tuple[keras.Layer, _Given]] | None
) -> Link:
    def link(call: Method) -> Method:
        def stand_in(inputs: Tensor, *args: object, **kwargs: Any) -> Tensor:
            if records is not None:
                records.append((layer, (inputs, kwargs.get("mask"), layer.axis)))
            return call(inputs, *args, **{**kwargs, **options})

        return stand_in

    return link


def _of_tensors(records: Sequence[_Given]) -> Any:
    """The moments of all inputs of one layer in one batch."""
    moments = None
    for inputs, mask, axis in records:
        dtype = wide_dtype(inputs.dtype)
        inputs = ops.cast(inputs, dtype)
        axes = [i for i in range(len(inputs.shape)) if i != axis % len(inputs.shape)]
        weight = ops.ones_like(inputs)
        if mask is not None:
            weight = weight * ops.cast(ops.expand_dims(mask, -1), dtype)
        count = ops.sum(weight, axes)
        # All rows may be masked: then nothing is 0, and not NaN.
        divisor = ops.maximum(count, 1.0)
        mean = ops.sum(weight * inputs, axes) / divisor
        # Around the mean: the mean of squares minus the square of the mean may leave
        # nothing of a small variance.
        around = inputs - ops.reshape(mean, _spread(mean, inputs, axis))
        new = (count, mean, ops.sum(weight * ops.square(around), axes) / divisor)
        moments = new if moments is None else _joined(moments, new)
    return moments


def _spread(mean: Tensor, inputs: Tensor, axis: int) -> list[int]:
    shape = [1] * len(inputs.shape)
    shape[axis] = mean.shape[0]
    return shape


def _joined(a: Moments, b: Moments) -> Moments:
    """The moments of two sets of values together."""
    count = a[0] + b[0]
    # As Chan et al. put it, without sums of squares.
    share = b[0] / ops.maximum(count, 1.0)
    difference = b[1] - a[1]
    mean = a[1] + share * difference
    variance = (1 - share) * a[2] + share * b[2] + share * (1 - share) * difference**2
    return count, mean, variance
