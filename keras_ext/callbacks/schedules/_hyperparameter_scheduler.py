"""Moves any hyperparameter by a schedule."""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import ClassVar

import keras

from keras_ext._core._checks import choice, is_integer, is_number, require
from keras_ext._core._pattern import check_pattern
from keras_ext._core._typing import Logs, Tensor
from keras_ext._fit._fit_scope import FitScope
from keras_ext._fit._scoped_callback import ScopedCallback
from keras_ext._live._find_hyper_variables import hyper_variables
from keras_ext._live._find_hyperparameters import find_hyperparameters
from keras_ext._live._hyper_variable import HyperVariable
from keras_ext.callbacks._batch_count import BatchCount

# Keras keeps it where the running step reads it; a second owner would be in its way.
_OF_RATE = (
    "For the learning rate use keras.callbacks.LearningRateScheduler, or give the "
    "optimizer a schedule of keras.optimizers.schedules."
)

# A function of the count of epochs or steps, or pairs of the first of them and a value.
_Schedule = Callable[[int], float | Tensor] | Sequence[tuple[int, float]]


class HyperparameterScheduler(ScopedCallback):
    """Sets hyperparameters by schedules while a model trains.

    It can schedule anything that `keras_ext.make_live` finds in an existing model, such
    as the rates of its dropout layers, the strength of its regularizers or the weight
    decay of its optimizer, and any `HyperVariable` in it. The running step uses the new
    values without a retrace. At the end of `fit` the model is a plain one again, with
    the last values.

    The learning rate is left to Keras, which has `LearningRateScheduler` for it, and
    schedules to give to the optimizer.

    Logs each value at the end of an epoch, under its path.

    Args:
        schedules: Dictionary from the path of hyperparameters, a regular expression
            that is searched in it (`"dropout.*/rate"`), to a schedule: a function from
            the number of the epoch, or step, to the value; a
            `keras.optimizers.schedules.LearningRateSchedule`; or a list of pairs
            `(first, value)`, the value to have from this epoch, or step, on. A
            hyperparameter that several expressions fit follows the first.
        every: `"epoch"` to count epochs from 0, as `fit` does, and set the values when
            one begins; `"step"` to count batches, over the epochs of this `fit`, and
            set them before each batch. Defaults to `"epoch"`.

    Raises:
        ValueError: If an argument is not of this form, or, when training begins, if a
            path fits nothing in the model.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential(
        ...     [
        ...         keras.Input((2,)),
        ...         keras.layers.Dropout(0.5, name="dropout"),
        ...         keras.layers.Dense(1),
        ...     ]
        ... )
        >>> model.compile("sgd", "mse")
        >>> schedule = kx.callbacks.HyperparameterScheduler(
        ...     {"dropout.*/rate": [(0, 0.0), (2, 0.25)]}
        ... )
        >>> x, y = np.ones((8, 2)), np.ones((8, 1))
        >>> history = model.fit(x, y, epochs=3, callbacks=[schedule], verbose=0)
        >>> history.history["dropout/rate"]
        [0.0, 0.0, 0.25]
        >>> model.get_layer("dropout").rate
        0.25
    """

    remembered: ClassVar[tuple[str, ...]] = ("_count",)

    def __init__(
        self, schedules: Mapping[str, _Schedule], *, every: str = "epoch"
    ) -> None:
        super().__init__()
        require(
            isinstance(schedules, Mapping)
            and bool(schedules)
            and all(isinstance(path, str) for path in schedules),
            "schedules",
            schedules,
            "a dictionary from paths to schedules",
        )
        check_pattern("schedules", list(schedules))
        for path, schedule in schedules.items():
            require(
                callable(schedule) or _is_table(schedule),
                f"schedules[{path!r}]",
                schedule,
                "a function, a Keras schedule, or a list of pairs (first, value) that "
                "begins at 0, in order",
            )
        self.schedules = dict(schedules)
        self.every = choice(every, "every", ("epoch", "step"))

    def attach(self, scope: FitScope) -> None:
        model = scope.model
        chosen = [
            knob for knob in find_hyperparameters(model) if self._path_for(knob.path)
        ]
        scope.make_live(chosen, self)
        self._driven = self._all_driven(model)
        for path, (hyper, _) in self._driven.items():
            scope.claim(hyper, path, self)

    def _path_for(self, path: str) -> str | None:
        """The first of the given paths that fits."""
        fits = (p for p in self.schedules if re.search(p, path))
        return next(fits, None)

    def _all_driven(
        self, model: keras.Model
    ) -> dict[str, tuple[HyperVariable, Callable[[int], float]]]:
        found = hyper_variables(model)
        path_for = {path: self._path_for(path) for path in found}
        unused = [p for p in self.schedules if p not in path_for.values()]
        if unused:
            known = sorted(
                {*found, *(knob.path for knob in find_hyperparameters(model))}
            )
            expected = f"expressions of which each fits one of {known}"
            of_rate = any(re.search(p, "optimizer/learning_rate") for p in unused)
            require(False, "schedules", unused, expected, _OF_RATE if of_rate else "")
        return {
            path: (found[path], _as_function(self.schedules[given]))
            for path, given in path_for.items()
            if given is not None
        }

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        self._count = BatchCount()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        if self.every == "epoch":
            self._assign(epoch)

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        if self.every == "step":
            self._assign(self._count.before(self, batch))

    def _assign(self, count: int) -> None:
        for hyper, schedule in self._driven.values():
            hyper.assign(float(schedule(count)))

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if logs is not None:
            logs.update({p: float(hyper) for p, (hyper, _) in self._driven.items()})


def _is_table(schedule: object) -> bool:
    if not isinstance(schedule, list | tuple) or not schedule:
        return False
    pairs = all(isinstance(row, list | tuple) and len(row) == 2 for row in schedule)
    if not pairs or not all(is_integer(a) and is_number(b) for a, b in schedule):
        return False
    firsts = [first for first, _ in schedule]
    return firsts[0] == 0 and all(a < b for a, b in pairwise(firsts))


def _as_function(schedule: _Schedule) -> Callable[[int], float]:
    if callable(schedule):
        return schedule

    def table(count: int) -> float:
        return [value for first, value in schedule if first <= count][-1]

    return table
