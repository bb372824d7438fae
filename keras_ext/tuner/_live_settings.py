"""Hyperparameters of a search as live values of one model."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import keras
import numpy as np
from keras_tuner.engine import hyperparameters as kinds

from keras_ext._core._checks import require, takes
from keras_ext._live._hyper_variable import HyperVariable
from keras_ext._live._make_live import make_live

# Gives a hyperparameter of a model a value.
Setter: TypeAlias = Callable[[keras.Model, float], object]

RATE = "learning_rate"


class LiveSettings:
    """Moves the hyperparameters of a model that is training, without building it anew.

    Args:
        model: A compiled model, whose hyperparameters it makes live.
        space: The hyperparameters of the search.
        live: From their names to what they are in the model, see
            `PopulationBasedTraining`, or None.

    Raises:
        ValueError: If one of them is nothing in the model that can be moved.
    """

    def __init__(
        self,
        model: keras.Model,
        space: Sequence[kinds.HyperParameter],
        live: Mapping[str, str | Setter] | None,
    ) -> None:
        self.space = [hp for hp in space if not isinstance(hp, kinds.Fixed)]
        given = dict(live or {})
        names = [hp.name for hp in self.space]
        rule = f"a dictionary from names among {names}"
        require(set(given) <= set(names), "live", live, rule)
        found = make_live(model)
        self._setters = {
            hp.name: _setter(hp, given.get(hp.name), model, found) for hp in self.space
        }
        require(bool(names), "hypermodel", names, "one with hyperparameters to move")

    def assign(self, settings: Mapping[str, float]) -> None:
        """Gives the model these values, of all of them."""
        for name, value in settings.items():
            self._setters[name](value)

    def on_steps(
        self, before: Mapping[str, float], moved: Mapping[str, float]
    ) -> dict[str, float]:
        """What was moved, on the steps of those that have steps."""
        return {
            hp.name: _stepped(hp, before[hp.name], moved[hp.name]) for hp in self.space
        }

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        """Within what each of them may be."""
        return {hp.name: (hp.min_value, hp.max_value) for hp in self.space}

    @property
    def draws(self) -> dict[str, Callable[[np.random.Generator], float]]:
        """How each of them is drawn anew, given a generator."""
        return {hp.name: partial(_drawn, hp) for hp in self.space}


def _stepped(hp: kinds.HyperParameter, before: float, moved: float) -> float:
    """The nearest step; of a move that is shorter than a step, the next one."""
    if hp.step is None:
        return moved
    steps = np.array(list(hp.values))
    start, end = (int(np.abs(steps - value).argmin()) for value in (before, moved))
    if start == end:
        end = min(max(start + int(np.sign(moved - before)), 0), len(steps) - 1)
    return float(steps[end])


def _drawn(hp: kinds.HyperParameter, rng: np.random.Generator) -> float:
    return float(hp.prob_to_value(rng.random()))


def _setter(
    hp: kinds.HyperParameter,
    given: str | Setter | None,
    model: keras.Model,
    found: Mapping[str, HyperVariable],
) -> Callable[[float], object]:
    """A function that gives one hyperparameter of the model a value."""
    if hp.conditions or not isinstance(hp, kinds.Float):
        raise ValueError(
            f"`{hp.name}` cannot be moved while a model trains: it is no `hp.Float`, "
            "or there under a condition alone. Give it one value, or search for it "
            "with keras_ext.tuner.BOHB."
        )
    if given is not None and not isinstance(given, str):
        require(
            takes(given, 2), "live", given, "texts, or functions of model and value"
        )
        return lambda value: given(model, value)
    pattern = given or re.escape(hp.name)
    if pattern == RATE or (given is None and hp.name == RATE):
        return _rate_of(model).assign
    # Without a pattern, the name has to be a whole path.
    whole = re.compile(pattern if given else f"^{pattern}$")
    chosen = [knob for path, knob in found.items() if whole.search(path)]
    require(
        bool(chosen),
        "live",
        {hp.name: given},
        f"a pattern for each hyperparameter that is found among {[RATE, *found]}",
    )

    def assign(value: float) -> None:
        for knob in chosen:
            knob.assign(value)

    return assign


def _rate_of(model: keras.Model) -> keras.Variable:
    rate = model.optimizer.learning_rate
    is_moved = isinstance(rate, keras.Variable)
    rule = "a number, and no schedule, which would move it itself"
    require(is_moved, RATE, type(rate).__name__, rule)
    return rate
