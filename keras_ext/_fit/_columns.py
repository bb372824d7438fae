"""What the callbacks of this library add to the logs of an epoch."""

from collections import UserDict
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Self

import keras
import numpy as np

from keras_ext._core._checks import is_integer
from keras_ext._core._pattern import check_pattern, matches
from keras_ext._core._typing import Pattern, Record
from keras_ext._fit._copyable_callback import CopyableCallback
from keras_ext._keras._progress_bar import for_progress_bar

# Which of them the progress bar shows, for the whole process.
_SHOWN: dict[str, bool | Pattern] = {"columns": True}


def show_in_progress_bar(columns: bool | Pattern = True) -> None:
    """Chooses which columns of this library's callbacks `fit` prints.

    A few callbacks together log a dozen numbers, and hide the loss among them. Hidden
    columns are still logged: `history` has them, and so does every callback that reads
    the logs, such as `CSVLogger`, `TensorBoard` or `EarlyStopping`. Columns of Keras
    and of other libraries are always shown. The choice holds for the whole process.

    Args:
        columns: `True` to show all, `False` to show none, or the ones to show: a
            regular expression that is searched in the name, a list of them, or a
            function of the name. Defaults to `True`.

    Raises:
        ValueError: If `columns` is nothing of this.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(0.1), "mse")
        >>> kx.show_in_progress_bar(False)
        >>> history = model.fit(
        ...     np.ones((8, 2)),
        ...     np.zeros((8, 1)),
        ...     callbacks=[kx.callbacks.GradientMonitor()],
        ...     verbose=2,
        ... )
        1/1 - ... - loss: ...
        >>> sorted(history.history)[:3]
        ['dead_fraction', 'gradient_confusion', 'gradient_cosine']
        >>> kx.show_in_progress_bar()
    """
    if not isinstance(columns, bool):
        check_pattern("columns", columns)
    _SHOWN["columns"] = columns


def _is_shown(name: str) -> bool:
    columns = _SHOWN["columns"]
    if isinstance(columns, bool) or columns is None:
        return columns is not False
    return matches(columns, name, name)


class Written(UserDict[str, Any]):
    """The logs of an epoch, as one callback sees them, and what it writes to them.

    Args:
        logs: The logs, which change with it.
    """

    def __init__(self, logs: MutableMapping[str, Any]) -> None:
        super().__init__()
        self.data = logs  # type: ignore[assignment]
        self.names: set[str] = set()

    def __setitem__(self, name: str, value: Any) -> None:
        self.names.add(name)
        self.data[name] = value

    def __ior__(self, other: Any) -> Self:  # type: ignore[override,misc]
        self.update(other)
        return self


class Columns:
    """The columns that the callbacks of one training have added.

    Args:
        callbacks: The callbacks; each has an attribute `logged`, which is filled.
    """

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        self._callbacks = callbacks
        self._names: set[str] = set()

    def begin(self) -> None:
        """Forgets what an earlier training has logged."""
        for callback in self._callbacks:
            vars(callback).pop("logged", None)

    def add(
        self,
        callback: CopyableCallback,
        epoch: int,
        written: Written,
    ) -> None:
        """Notes what a callback has added to the logs.

        Args:
            callback: The callback.
            epoch: The epoch that ends.
            written: What it was given, and has written to.
        """
        new = {k: v for k, v in written.items() if k in written.names}
        self._names |= new.keys()
        numbers = {k: v for k, v in new.items() if np.ndim(v) == 0}
        if numbers:
            callback.logged = callback.logged or {}
            _append(callback.logged, {"epoch": epoch, **numbers})

    def for_the_eye(self, logs: Mapping[str, object] | None) -> Record:
        """What the progress bar is to show."""
        kept = {
            name: value
            for name, value in (logs or {}).items()
            if name not in self._names or _is_shown(name)
        }
        return for_progress_bar(kept)


def _append(logged: MutableMapping[str, list[float]], row: Record) -> None:
    """Adds a row; a column that was not there before has NaN in those above."""
    rows = len(logged.get("epoch", ()))
    for name in dict.fromkeys([*logged, *row]):
        value = row.get(name, float("nan"))
        value = int(value) if is_integer(value) else float(value)
        logged.setdefault(name, [float("nan")] * rows).append(value)
