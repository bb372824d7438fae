"""The picture of a training."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_ext._core._checks import require
from keras_ext._core._panels import Curve, draw_panels
from keras_ext._core._pattern import check_pattern, is_selected
from keras_ext._core._typing import Figure, Pattern, Record

_VALIDATION = "val_"


def plot_history(
    history: keras.callbacks.History | Mapping[str, object],
    *,
    include: Pattern = None,
    exclude: Pattern = None,
) -> Figure:
    """Draws what `fit` returns: a panel for each quantity, epoch by epoch.

    A quantity and its validation counterpart share a panel; the latter is dashed.
    Several trainings are drawn on top of each other.

    Args:
        history: What `fit` returns, its `history`, or a dictionary from the name of a
            training to either of these.
        include: Which quantities are drawn: a regular expression that is searched in
            the name, a list of them, or a function of the name. None means all that are
            numbers.
        exclude: Which are not, in the same form. None means none.

    Returns:
        A figure of Matplotlib, which pyplot does not keep open.

    Raises:
        ValueError: If `history` is something else, or nothing is left to draw.
        ImportError: If Matplotlib is not installed.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse", metrics=["mae"])
        >>> x, y = np.ones((8, 2)), np.ones((8, 1))
        >>> history = model.fit(x, y, validation_split=0.5, epochs=3, verbose=0)
        >>> figure = kx.plot_history(history)
        >>> [axes.get_title() for axes in figure.axes]
        ['loss', 'mae']
    """
    check_pattern("include", include)
    check_pattern("exclude", exclude)
    trainings = _trainings(history)
    names = {name: None for _, columns, _ in trainings for name in columns}
    chosen = [n for n in names if is_selected(n, include, exclude, n)]
    hint = f"There is {sorted(names)}."
    some = "such that some quantity is left"
    argument = "exclude" if include is None else "include"
    pattern = exclude if include is None else include
    require(bool(chosen), argument, pattern, some, hint)
    panels: dict[str, list[Curve]] = {}
    for name in chosen:
        title = name.removeprefix(_VALIDATION)
        title = title if title in chosen else name
        panels.setdefault(title, []).extend(_curves(name, title, trainings))
    return draw_panels(panels)


_Training = tuple[str | None, dict[str, Sequence[float]], Sequence[int]]


def _trainings(history: Any) -> list[_Training]:
    """The name, the columns of numbers, and the epochs of each training."""
    expected = "what `fit` returns, its `history`, or a dictionary of them by name"
    known = isinstance(history, Mapping | keras.callbacks.History)
    require(known and _is_filled(history), "history", history, expected)
    if not isinstance(history, Mapping) or _is_columns(history):
        return [_training(None, history)]
    fits = all(_is_columns(h) and isinstance(n, str) for n, h in history.items())
    require(fits, "history", history, expected)
    return [_training(name, one) for name, one in history.items()]


def _is_filled(history: keras.callbacks.History | Mapping[str, object]) -> bool:
    return bool(history if isinstance(history, Mapping) else history.history)


def _is_columns(history: Any) -> bool:
    if isinstance(history, keras.callbacks.History):
        return bool(history.history)
    columns = isinstance(history, Mapping) and len(history) > 0
    return columns and all(
        isinstance(k, str) and isinstance(v, list) and len(v) > 0
        for k, v in history.items()
    )


def _training(name: str | None, history: Any) -> _Training:
    columns: Record = getattr(history, "history", history)
    numbers = {k: v for k, v in columns.items() if all(map(_is_number, v))}
    most = max((len(v) for v in numbers.values()), default=0)
    epochs = list(getattr(history, "epoch", ())) or range(most)
    return name, numbers, [int(epoch) + 1 for epoch in epochs]


def _is_number(value: object) -> bool:
    return np.ndim(value) == 0 and isinstance(value, (int, float, np.number))


def _curves(name: str, title: str, trainings: Sequence[_Training]) -> Iterator[Curve]:
    validates = name != title
    for i, (training, columns, epochs) in enumerate(trainings):
        values = columns.get(name)
        if values is None:
            continue
        label = training
        if training is None and f"{_VALIDATION}{title}" in columns:
            label = "validation" if validates else "training"
        elif validates:
            label = None  # dashed, in the color of its training
        style = {"color": f"C{i}", "linestyle": "--" if validates else "-"}
        yield Curve(_epochs_of(values, epochs), values, label, style)


def _epochs_of(values: Sequence[float], epochs: Sequence[int]) -> list[int]:
    """The epochs, from 1, that the values of a column are of.

    With `validation_freq` there are fewer than epochs: those of its multiples.
    """
    for every in range(len(epochs) // max(len(values), 1), 0, -1):
        found = [epoch for epoch in epochs if epoch % every == 0]
        if len(found) == len(values):
            return found
    # At epochs of a list, which nobody knows: the last ones, evenly.
    places = np.linspace(0, len(epochs), len(values) + 1)[1:] - 1
    return [epochs[int(p)] for p in np.maximum(np.ceil(places), 0)]
