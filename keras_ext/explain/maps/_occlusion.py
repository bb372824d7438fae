"""What is missing when a window of the input is hidden."""

from collections.abc import Iterator, Sequence
from itertools import islice, product
from math import ceil, prod

import keras
import numpy as np

from keras_ext._core._checks import is_integer, require
from keras_ext._core._typing import Data, OutputChoice
from keras_ext.explain._coalitions import Coalitions
from keras_ext.explain.maps._question import Map, Question, places

Window = tuple[slice, ...]


def occlusion(
    model: keras.Model,
    x: Data,
    *,
    outputs: OutputChoice = "top",
    size: int | Sequence[int] | None = None,
    stride: int | Sequence[int] | None = None,
    background: Data = None,
    batch_size: int | str = "auto",
    jit: bool = False,
) -> Map:
    """Maps by how much an output falls when a window around each element is hidden.

    The window moves over the image, the sequence or the list of features; of several
    inputs one is hidden at a time. Where windows overlap, an element has their mean.
    For any model, also one without gradients.

    Args:
        model: A built model of any kind; it is called in inference mode.
        x: The rows, as the model takes them: an array, or a list, tuple or dictionary
            of arrays, or a DataFrame.
        outputs: Which outputs, as for `Explainer`. Defaults to `"top"`.
        size: An integer >= 1, or one for each axis but that of channels: how far a
            window reaches. None takes an eighth of each axis, one element at least.
        stride: An integer >= 1, or one for each of these axes: how far the window
            moves at a time. None takes half of the size.
        background: Rows as the model takes them, to hide with; the mean over all of
            them counts. None hides with zeros.
        batch_size: How many rows the model gets at a time, or `"auto"` for a number
            that follows from the memory that a row takes. Defaults to `"auto"`.
        jit: Whether to compile with XLA. Defaults to `False`.

    Returns:
        Array of the shape of `x`, equal for all channels of a place; for several inputs
        a dictionary of such, by name. If there are several outputs, they have an axis
        of their own, the last.

    Raises:
        ValueError: If an argument is not of this form.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.set_weights([np.array([[1.0], [-2.0], [0.0]]), np.zeros(1)])
        >>> print(kx.explain.maps.occlusion(model, np.array([[3.0, 1.0, 5.0]])))
        [[ 3. -2.  0.]]

    References:
        - [Zeiler and Fergus, 2013](https://arxiv.org/abs/1311.2901)
    """
    question = Question(model, x, outputs, batch_size, jit)
    names, inputs = question.inputs.names, question.inputs
    axes = [places(shape) for shape in inputs.shapes]
    windows = [
        _windows(own, _sizes("size", size, own), _sizes("stride", stride, own))
        for own in axes
    ]
    labels = {
        name: np.broadcast_to(
            np.arange(prod(own)).reshape((*own, *[1] * (len(shape) - len(own)))), shape
        )
        for name, own, shape in zip(names, axes, inputs.shapes, strict=True)
    }
    problem = question.problem(background, labels)
    found = _mean_fall(question, Coalitions(problem), axes, windows)
    return question.shaped(found[:, problem.players.of_element])


def _mean_fall(
    question: Question,
    coalitions: Coalitions,
    axes: Sequence[tuple[int, ...]],
    windows: Sequence[list[Window]],
) -> np.ndarray:
    """The mean fall over the windows that hide each place: `(rows, places, k)`."""
    whole: np.ndarray = question.evaluate(question.parts).astype("float64")
    whole = np.take_along_axis(whole, question.which, axis=1)
    total = np.zeros((len(whole), sum(map(prod, axes)), whole.shape[1]))
    times = np.zeros(total.shape[1])
    count, done, progress = sum(map(len, windows)), 0, question.progress()
    masks = _masks(axes, windows)
    while block := list(islice(masks, question.batch_size)):
        hidden = np.stack(block)
        values = coalitions.values(question.parts, question.which, ~hidden)
        fall = whole[:, None] - values
        total += np.einsum("rsk,sp->rpk", fall, hidden.astype("float64"), optimize=True)
        times += hidden.sum(axis=0)
        done += len(block)
        progress(done, count)
    # Between windows that leave gaps nothing is known, and nothing is shown.
    return total / np.maximum(times, 1)[:, None]


def _masks(
    axes: Sequence[tuple[int, ...]], windows: Sequence[list[Window]]
) -> Iterator[np.ndarray]:
    """Which places of all inputs each window hides."""
    begin, count = 0, sum(map(prod, axes))
    for own, among in zip(axes, windows, strict=True):
        for window in among:
            mask: np.ndarray = np.zeros(count, bool)
            mask[begin : begin + prod(own)].reshape(own)[window] = True
            yield mask
        begin += prod(own)


def _windows(
    axes: Sequence[int], size: Sequence[int] | None, stride: Sequence[int] | None
) -> list[Window]:
    """All places of the window; at the end of an axis it may be cut off."""
    sizes = size or [max(1, n // 8) for n in axes]
    strides = stride or [ceil(n / 2) for n in sizes]
    along = [
        # The last one begins no earlier than `n - s`, so that the end is hidden, too.
        [slice(i, i + s) for i in range(0, min(max(n - s, 0) + step, n), step)]
        for n, s, step in zip(axes, sizes, strides, strict=True)
    ]
    return list(product(*along))


def _sizes(
    name: str, given: int | Sequence[int] | None, axes: Sequence[int]
) -> list[int] | None:
    if given is None:
        return None
    found = [given] * len(axes) if is_integer(given) else list(np.atleast_1d(given))
    valid = len(found) == len(axes) and all(is_integer(n) and n > 0 for n in found)
    rule = f"an integer >= 1, or one for each of the axes {tuple(axes)}"
    require(valid, name, given, rule)
    return [int(n) for n in found]
