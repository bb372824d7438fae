"""What is searched of the arguments of a space, and what is given."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import keras

from keras_ext._core._checks import choice, flag, integer, is_number, number, require

if TYPE_CHECKING:
    import keras_tuner

# What a space takes: one value, or what is searched.
Activation = str | Callable[[keras.KerasTensor], keras.KerasTensor] | None
Words = str | Sequence[str]
Integers = int | Sequence[int]
Numbers = float | Sequence[float]
Flags = bool | Sequence[bool]

Value = TypeVar("Value")


class Asked:
    """Asks for hyperparameters, as far as there is something to search.

    One value is no hyperparameter. What is asked for under a condition that does not
    hold is None; it is declared all the same, so that asking once declares everything.

    Args:
        hp: The `keras_tuner.HyperParameters`.
    """

    def __init__(self, hp: "keras_tuner.HyperParameters") -> None:
        self._hp = hp
        self._given: dict[str, object] = {}
        self._is_off = False

    def choice(self, name: str, values: Sequence[Value]) -> Value | None:
        """One of some values, of which the first is the default."""
        if len(values) == 1 or self._is_off:
            return self._known(name, values[0])
        self._given.pop(name, None)
        if isinstance(values[0], bool):
            return self._hp.Boolean(name, default=values[0])
        return self._hp.Choice(name, list(values))

    def integer(
        self,
        name: str,
        span: tuple[int, int],
        *,
        log: bool = False,
        doubling: bool = False,
    ) -> int | None:
        """An integer within two bounds; doubled from the lower one on, if so."""
        low, high = span
        if low == high or self._is_off:
            return self._known(name, low)
        if doubling:
            # On a log scale KerasTuner multiplies by the step.
            return self._hp.Int(name, low, high, step=2, sampling="log")
        return self._hp.Int(name, low, high, sampling=_sampling(log))

    def number(
        self,
        name: str,
        span: tuple[float, float],
        *,
        log: bool = False,
        default: float | None = None,
    ) -> float | None:
        """A number within two bounds."""
        low, high = span
        if low == high or self._is_off:
            return self._known(name, low)
        # KerasTuner takes a default beyond the bounds as it is.
        within = default is not None and low <= default <= high
        begin = default if within else None
        return self._hp.Float(name, low, high, sampling=_sampling(log), default=begin)

    def _known(self, name: str, value: Value) -> Value | None:
        if self._is_off:
            return None
        self._given[name] = value
        return value

    @contextlib.contextmanager
    def when(self, name: str, values: Sequence[object]) -> Iterator[None]:
        """What is asked for within is only there when another has one of the values."""
        if self._is_off or name in self._given or not values:
            was_off = self._is_off
            self._is_off = was_off or self._given.get(name) not in values
            yield
            self._is_off = was_off
            return
        from keras_tuner.src.engine.conditions import Parent

        # Not by `conditional_scope`, which only knows parents that were declared under
        # all the other conditions: a share of a width depends on the shape and on the
        # depth, neither of which is within the other.
        conditions = self._hp._conditions
        conditions.append(Parent(self._hp._get_name(name), list(values)))
        try:
            yield
        finally:
            conditions.pop()


def _sampling(log: bool) -> str:
    return "log" if log else "linear"


def words(value: Words, name: str, known: Sequence[str]) -> tuple[str, ...]:
    """A word, or several to search among, as a tuple; raises if it is neither."""
    several = isinstance(value, list | tuple) and len(value) > 0
    given = tuple(value) if several else (value,)
    checked = tuple(choice(word, name, known) for word in given)
    require(len(set(given)) == len(given), name, value, "a list of different words")
    return checked


def flags(value: Any, name: str) -> tuple[bool, ...]:
    """True, False, or both to search among, as a tuple."""
    several = isinstance(value, list | tuple) and 0 < len(value) <= 2
    given = tuple(value) if several else (value,)
    checked = tuple(flag(item, name) for item in given)
    require(len(set(given)) == len(given), name, value, "True, False or (False, True)")
    return checked


def integer_span(value: Any, name: str, low: int = 1) -> tuple[int, int]:
    """An integer, or a pair to search between, as a pair."""
    if not isinstance(value, list | tuple):
        value = integer(value, name, low=low)
        return value, value
    rule = f"an integer >= {low} or a pair (low, high) of these"
    require(len(value) == 2, name, value, rule)
    first, last = (integer(item, name, low=low) for item in value)
    require(first <= last, name, value, rule)
    return first, last


def number_span(
    value: Any, name: str, *, low: float = 0.0, high: float | None = None
) -> tuple[float, float]:
    """A number, or a pair to search between, as a pair; `low` itself is excluded."""
    several = isinstance(value, list | tuple)
    given = list(value) if several else [value]
    within = f"> {low:g}" if high is None else f"in ({low:g}, {high:g}]"
    rule = f"a number {within} or a pair (low, high) of these"
    fits = len(given) == (2 if several else 1) and all(map(is_number, given))
    fits = fits and all(item > low for item in given) and given == sorted(given)
    require(fits and (high is None or given[-1] <= high), name, value, rule)
    return float(number(given[0], name)), float(number(given[-1], name))
