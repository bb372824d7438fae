"""The mean of random masks, weighed by what is left of an output behind them."""

from collections.abc import Sequence
from math import ceil, prod

import keras
import numpy as np
import tensorflow as tf

from keras_ext._core._checks import integer, number, require
from keras_ext._core._typing import Data, OutputChoice, Tensor
from keras_ext.explain._inputs import take
from keras_ext.explain._problem import gathered, rows_like, traced
from keras_ext.explain.maps._question import Map, Question, places


def rise(  # noqa: PLR0913
    model: keras.Model,
    x: Data,
    *,
    outputs: OutputChoice = "top",
    num_masks: int = 4000,
    cells: int = 7,
    rate: float = 0.5,
    batch_size: int | str = "auto",
    jit: bool = False,
    seed: int = 0,
) -> Map:
    """Maps how high an output is on average while a place is seen (RISE).

    Each mask is a coarse random grid of seen and hidden cells, moved a little and
    smoothed; what is hidden is multiplied by zero. For any model of one input of real
    numbers, mostly images. Values tell places apart, and are no parts of the output.

    Args:
        model: A built model of any kind; it is called in inference mode.
        x: The rows, one array: images, sequences or features.
        outputs: Which outputs, as for `Explainer`. Defaults to `"top"`.
        num_masks: Integer >= 1, how many masks. Defaults to `4000`.
        cells: Integer >= 1, how many cells the grid has along each axis but that
            of channels. Defaults to `7`.
        rate: Number in (0, 1]; the fraction of cells that is seen. Defaults to `0.5`.
        batch_size: How many rows the model gets at a time, or `"auto"` for a number
            that follows from the memory that a row takes. Defaults to `"auto"`.
        jit: Whether to compile with XLA. Defaults to `False`.
        seed: Integer >= 0. The same seed gives the same map, whatever rows are
            explained together. Defaults to `0`.

    Returns:
        Array of the shape of `x`, equal for all channels of a place. If there are
        several outputs, they have an axis of their own, the last.

    Raises:
        ValueError: If an argument is not of this form.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
        >>> weights = np.array([[0.0], [1.0], [0.0], [0.0], [-2.0], [0.0]])
        >>> model.set_weights([weights, np.zeros(1)])
        >>> found = kx.explain.maps.rise(model, np.ones((1, 6)), num_masks=500)
        >>> int(found.argmax()), int(found.argmin())
        (1, 4)

    References:
        - [Petsiuk et al., 2018](https://arxiv.org/abs/1806.07421)
    """
    num_masks = integer(num_masks, "num_masks", low=1)
    cells = integer(cells, "cells", low=1)
    rate = number(rate, "rate", above=0, high=1)
    seed = integer(seed, "seed", low=0)
    question = Question(model, x, outputs, batch_size, jit)
    kinds = [part.dtype.name for part in question.parts]
    valid = len(kinds) == 1 and question.parts[0].dtype.kind == "f"
    hint = "Use `occlusion`, which hides with rows of a background."
    require(valid, "x", kinds, "one input of real numbers", hint)
    shape = question.inputs.shapes[0]
    masks = Masks(places(shape), num_masks, cells, rate, int(seed))
    # E[M] N of the paper, how often a place is expected to be seen.
    found = _sums(question, masks) / (num_masks * rate)
    channels = prod(shape) // prod(places(shape))
    return question.shaped(np.repeat(found, channels, axis=1))


class Masks:
    """Random grids, moved and smoothed: a mask for each, with values from 0 to 1.

    Args:
        axes: How many places there are along each axis.
        count: How many masks.
        cells: How many cells a grid has along each axis.
        rate: The fraction of cells that is seen.
        seed: The seed of what is drawn.

    Attributes:
        grids: `(count, cells, ...)`, 1 where a cell is seen.
        offsets: How far each is moved, `(count, axes)`.
    """

    def __init__(
        self, axes: Sequence[int], count: int, cells: int, rate: float, seed: int
    ) -> None:
        rng = np.random.default_rng(seed)
        self.grids = rng.random((count, *[cells] * len(axes))) < rate
        self._axes = axes
        lengths = [ceil(n / cells) for n in axes]
        self.offsets = rng.integers(0, lengths, (count, len(axes)))
        # One cell more than there are places for, to be moved by up to one.
        self._upsamplings = [
            _interpolation((cells + 1) * length, cells) for length in lengths
        ]

    def __getitem__(self, some: slice) -> np.ndarray:
        """Masks, `(some, places)`."""
        masks = self.grids[some].astype("float32")
        offsets = self.offsets[some]
        for axis, (count, matrix) in enumerate(
            zip(self._axes, self._upsamplings, strict=True)
        ):
            own = matrix[offsets[:, axis, None] + np.arange(count)]
            moved = np.moveaxis(masks, axis + 1, 1)
            flat = own @ moved.reshape(len(own), matrix.shape[1], -1)
            shaped = flat.reshape(len(own), count, *moved.shape[2:])
            masks = np.moveaxis(shaped, 1, axis + 1)
        return masks.reshape(len(masks), -1)


def _interpolation(length: int, cells: int) -> np.ndarray:
    """Straight lines between the centers of cells, `(length, cells)`."""
    # Where the middle of each place lies, in cells whose middles are whole numbers.
    center = (np.arange(length) + 0.5) * cells / length - 0.5
    distance = np.abs(np.clip(center, 0, cells - 1)[:, None] - np.arange(cells))
    return np.maximum(1 - distance, 0).astype("float32")


def _sums(question: Question, masks: Masks) -> np.ndarray:
    """The sum of masks times outputs, `(rows, places, k)`, in float64."""
    rows, k = question.which.shape
    num_places, count = masks[:1].shape[1], len(masks.grids)

    def compute(parts: list[Tensor], which: Tensor, some: Tensor) -> Tensor:
        shape = (-1, 1, num_places, parts[0].shape[1] // num_places)
        own = tf.reshape(parts[0], shape)
        hidden = own * tf.cast(some, own.dtype)[None, :, :, None]
        columns = question.function([tf.reshape(hidden, (-1, parts[0].shape[1]))])
        columns = question.function.pick(
            columns, tf.repeat(which, tf.shape(some)[0], axis=0)
        )
        values = tf.reshape(columns, (-1, tf.shape(some)[0], k))
        return tf.einsum("rsk,sp->rpk", values, some)

    compiled = traced(
        compute,
        [
            rows_like(question.parts),
            tf.TensorSpec((None, k), tf.int32),
            tf.TensorSpec((None, num_places), tf.float32),
        ],
        question.jit,
    )
    total = np.zeros((rows, num_places, k))
    masks_at_once = min(count, question.batch_size)
    rows_at_once = max(1, question.batch_size // masks_at_once)
    progress = question.progress()
    for begin in range(0, count, masks_at_once):
        some = tf.constant(masks[slice(begin, begin + masks_at_once)])
        for row in range(0, rows, rows_at_once):
            own = slice(row, row + rows_at_once)
            x, which = take(question.parts, own), question.which[own]
            total[own] += compiled(gathered(x), tf.constant(which), some).numpy()
        progress(min(begin + masks_at_once, count), count)
    return total
