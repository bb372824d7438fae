"""Callbacks that can be copied and pickled at any time."""

from copy import deepcopy
from types import MappingProxyType
from typing import ClassVar, Self

import keras

from keras_ext._core._checks import require
from keras_ext._core._panels import Curve, draw_panels
from keras_ext._core._typing import Data, Figure, Logs, Record
from keras_ext._fit._memory import memory_of, recall
from keras_ext._live._live_attributes import LiveAttributes

_LIMIT = MappingProxyType({"color": "0.4", "linestyle": "--", "linewidth": 1})


class CopyableCallback(LiveAttributes, keras.callbacks.Callback):
    """A callback whose copy is as the original was before its first `fit`.

    KerasTuner copies callbacks, maybe used ones, before each trial, and others pickle
    them. What a `fit` has left in them belongs to its model, and cannot be copied: a
    copy takes over the attributes that there were when the first `fit` began.

    What it remembers from epoch to epoch is saved with the model while it trains, and
    restored when a training goes on, see `TrainingRun`. A subclass lists the attributes
    in `remembered`, or overrides `get_state` and `set_state`.
    """

    # Attributes to save; those of base classes are added.
    remembered: ClassVar[tuple[str, ...]] = ()
    # What it has added to the logs in the present or last `fit`: from name to a number
    # for each epoch in which it did, and `"epoch"` to these, counted from 0.
    logged: Record = MappingProxyType({})  # type: ignore[assignment]

    def get_state(self) -> Record:
        """Returns what has to be saved for a training to go on, between two epochs.

        Returns:
            A dictionary of numbers, texts, arrays, and lists and dictionaries of these.
        """
        return memory_of(self)

    def set_state(self, state: Record) -> None:
        """Goes on with what `get_state` has returned, when a training goes on.

        Called after `on_train_begin`, and before the first epoch begins.

        Args:
            state: The dictionary.
        """
        recall(self, state)

    def kind_of_state(self) -> Data:
        """Returns what has to be the same for a callback to go on with a state.

        Returns:
            Plain data, such as some arguments; None if any state will do.
        """
        return None

    def before_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Is called before any callback of the list is told that an epoch has ended.

        Args:
            epoch: Its number, from 0.
            logs: What all of them will be told.
        """

    def marks(self) -> dict[str, int]:
        """What `plot` marks: from a word to the epoch, counted from 0."""
        return {}

    def limits(self) -> dict[str, float]:
        """What `plot` draws a line at: from the name of a column to the number."""
        return {}

    def plot(self) -> Figure:
        """Draws what it has logged in the present or last `fit`, epoch by epoch.

        Returns:
            A figure of Matplotlib, which pyplot does not keep open.

        Raises:
            ValueError: If it has logged nothing yet.
            ImportError: If Matplotlib is not installed.
        """
        hint = "It has logged nothing: pass it to a `fit` first."
        require(bool(self.logged), "logged", {}, "those of an epoch or more", hint)
        epochs = [epoch + 1 for epoch in self.logged["epoch"]]
        columns = {k: v for k, v in self.logged.items() if k != "epoch"}
        if len(columns) > 1 and not any(columns.get("nonfinite_steps", [1])):
            del columns["nonfinite_steps"]  # nothing was left out: nothing to see
        panels = {name: [Curve(epochs, values)] for name, values in columns.items()}
        for name, limit in self.limits().items():
            line = Curve(epochs, [float(limit)] * len(epochs), "limit", _LIMIT)
            panels.get(name, []).append(line)
        marks = {text: epoch + 1 for text, epoch in self.marks().items()}
        return draw_panels(panels, marks)

    def set_model(self, model: keras.Model) -> None:
        if "_lasting" not in vars(self):
            self._lasting = tuple(vars(self))
        super().set_model(model)

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        for name, value in self.__getstate__().items():
            setattr(copied, name, deepcopy(value, memo))
        return copied

    def __getstate__(self) -> Record:
        kept = vars(self).get("_lasting", tuple(vars(self)))
        return {name: vars(self)[name] for name in kept} | {"_model": None}
