"""The oracle of KerasTuner that tries first what somebody knows."""

from collections.abc import Mapping
from typing import TypeAlias

import keras_tuner
from keras_tuner.engine import hyperparameters as kinds

from keras_ext._core._checks import flag, number, require
from keras_ext._core._typing import Record
from keras_ext.tuner._stored_oracle import StoredOracle

# Of a hyperparameter.
Value: TypeAlias = bool | int | float | str


class QueuedOracle(StoredOracle):
    """Takes configurations that are tried before those that it proposes."""

    # Whether what it proposes leaves room for others.
    takes_points = True

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._queue: list[dict[str, Value]] = []

    def enqueue(self, values: Mapping[str, Value]) -> None:
        """Has a configuration tried before all that are not: one that you know.

        It is left out if it was tried already, so that a script that is run again to go
        on with a search may call this again. Call it when the space is known: when the
        tuner is made.

        Args:
            values: Dictionary from names to values. What is active and not named takes
                its default.

        Raises:
            ValueError: If a name is not in the space, a value out of its range, or the
                search is one through a grid or by brackets, which has no room.
        """
        kind = type(self).__name__
        require(self.takes_points, "enqueue", kind, "called on another kind of search")
        require(isinstance(values, Mapping), "values", values, "a dictionary")
        known = {hp.name: hp for hp in self.hyperparameters.space}
        for name, value in values.items():
            names = f"a dictionary from names among {sorted(known)}"
            require(name in known, "values", values, names)
            _check_value(known[name], value)
        if dict(values) not in self._queue:
            self._queue.append(dict(values))

    def populate_space(self, trial_id: str) -> Record:
        queued = self._next_queued()
        if queued is None:
            return super().populate_space(trial_id)
        return {"status": "RUNNING", "values": queued}

    def _next_queued(self) -> dict[str, Value] | None:
        """The values of the next configuration of the queue that was not tried."""
        while self._queue:
            given = self._queue.pop(0)
            found = keras_tuner.HyperParameters()
            for hp in self.hyperparameters.space:
                # `is_active` asks the values of parents, which come first in a space.
                found.merge([hp])
                if found.is_active(hp):
                    found.values[hp.name] = given.get(hp.name, hp.default)
            if not self._duplicate(found.values):
                return found.values
        return None

    def get_state(self) -> Record:
        return {**super().get_state(), "queue": self._queue}

    def set_state(self, state: Record) -> None:
        super().set_state(state)
        self._queue = state.get("queue", [])


def _check_value(hp: kinds.HyperParameter, value: Value) -> None:
    if isinstance(hp, kinds.Boolean):
        flag(value, hp.name)
    elif isinstance(hp, kinds.Choice):
        require(value in hp.values, hp.name, value, f"one of {list(hp.values)}")
    elif isinstance(hp, kinds.Fixed):
        require(value == hp.value, hp.name, value, str(hp.value))
    else:
        number(value, hp.name, low=hp.min_value, high=hp.max_value)
