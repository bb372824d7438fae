"""The oracle of KerasTuner that tries first what somebody knows."""

from collections.abc import Mapping

from keras_tuner.engine import hyperparameters as kinds

from keras_ext._core._checks import flag, integer, number, require
from keras_ext._core._typing import Record
from keras_ext.tuner._stored_oracle import StoredOracle, Value, active_in


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
            ValueError: If a name is not in the space, a value out of its range or none
                of its steps, or the search is one through a grid or by brackets, which
                has no room.
        """
        kind = type(self).__name__
        require(self.takes_points, "enqueue", kind, "called on another kind of search")
        require(isinstance(values, Mapping), "values", values, "a dictionary")
        known = {hp.name: hp for hp in self.hyperparameters.space}
        for name in values:
            names = f"a dictionary from names among {sorted(known)}"
            require(name in known, "values", values, names)
        # Two may have one name under different conditions.
        known |= self._active(values)
        checked = {n: _checked_value(known[n], value) for n, value in values.items()}
        if checked not in self._queue:
            self._queue.append(checked)

    def populate_space(self, trial_id: str) -> Record:
        queued = self._next_queued()
        if queued is None:
            return super().populate_space(trial_id)
        return {"status": "RUNNING", "values": queued}

    def _next_queued(self) -> dict[str, Value] | None:
        """The values of the next configuration of the queue that was not tried."""
        while self._queue:
            given = self._queue.pop(0)
            active = self._active(given)
            values = {name: given.get(name, hp.default) for name, hp in active.items()}
            if not self._duplicate(values):
                return values
        return None

    def _active(self, values: Mapping[str, Value]) -> dict[str, kinds.HyperParameter]:
        return active_in(self.hyperparameters.space, values)

    def get_state(self) -> Record:
        return {**super().get_state(), "queue": self._queue}

    def set_state(self, state: Record) -> None:
        super().set_state(state)
        self._queue = state.get("queue", [])


def _checked_value(hp: kinds.HyperParameter, value: Value) -> Value:
    """A value that a hyperparameter can have, as the file of a trial can hold it."""
    if isinstance(hp, kinds.Boolean):
        return bool(flag(value, hp.name))
    if isinstance(hp, kinds.Choice | kinds.Fixed):
        is_fixed = isinstance(hp, kinds.Fixed)
        options: list[Value] = [hp.value] if is_fixed else list(hp.values)
        rule = str(hp.value) if is_fixed else f"one of {options}"
        require(value in options, hp.name, value, rule)
        return options[options.index(value)]
    low, high = hp.min_value, hp.max_value
    if isinstance(hp, kinds.Int):
        return int(_on_step(hp, integer(value, hp.name, low=low, high=high)))
    return float(_on_step(hp, number(value, hp.name, low=low, high=high)))


def _on_step(hp: kinds.Int | kinds.Float, value: float) -> float:
    """The step that a value is, but for rounding; the value if there are no steps."""
    if hp.step is None:
        return value
    near = min(hp.values, key=lambda step: abs(step - value))
    is_step = abs(near - value) <= 1e-9 * max(abs(hp.min_value), abs(hp.max_value))
    rule = f"one of its steps; the nearest is {near:g}"
    require(is_step, hp.name, value, rule)
    return near
