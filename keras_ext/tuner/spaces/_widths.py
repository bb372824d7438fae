"""How many units each layer has: a shape over depth, and how far it is scaled."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keras_ext._core._checks import require
from keras_ext._core._typing import Record
from keras_ext.tuner.spaces._asked import (
    Asked,
    Integers,
    Numbers,
    Words,
    integer_span,
    number_span,
    words,
)

SHAPES = ("equal", "decreasing", "increasing", "bottleneck", "diamond", "free")
# The places t of layers in [0, 1] to how far their widths are down, on a log scale.
_DOWN: dict[str, Callable[[float], float]] = {
    "equal": lambda t: 0.0,
    "decreasing": lambda t: t,
    "increasing": lambda t: 1 - t,
    "bottleneck": lambda t: 1 - abs(2 * t - 1),
    "diamond": lambda t: abs(2 * t - 1),
}
_SHAPED = tuple(shape for shape in _DOWN if shape != "equal")


@dataclass(frozen=True)
class Widths:
    """The widths of a chain of layers.

    Args:
        shapes: Which shapes are searched among.
        width: The widest layer, two bounds, unless there is a budget.
        ratio: How many times as wide the widest is as the narrowest, two bounds.
        budget: The largest number of parameters, two bounds, or None.
    """

    shapes: tuple[str, ...]
    width: tuple[int, int]
    ratio: tuple[float, float]
    budget: tuple[int, int] | None

    @classmethod
    def checked(
        cls, widths: Words, width: Integers, ratio: Numbers, budget: Integers | None
    ) -> "Widths":
        """From the arguments of a space."""
        return cls(
            words(widths, "widths", SHAPES),
            integer_span(width, "width"),
            number_span(ratio, "ratio", low=1.0),
            None if budget is None else integer_span(budget, "parameter_budget"),
        )

    def ask(self, asked: Asked, depth: str, deepest: int) -> Record:
        """Asks for what `profile` and `of` need."""
        if self.budget is None:
            values: Record = {"width": asked.integer("width", self.width, log=True)}
        else:
            budget = asked.integer("parameter_budget", self.budget, log=True)
            values = {"budget": budget}
        with asked.when(depth, range(2, deepest + 1)):
            values["shape"] = asked.choice("widths", self.shapes)
            shaped = [shape for shape in self.shapes if shape in _SHAPED]
            with asked.when("widths", shaped):
                values["ratio"] = asked.number("ratio", self.ratio, log=True)
            with asked.when("widths", [s for s in self.shapes if s == "free"]):
                values["shares"] = [
                    self._share(asked, i, depth, deepest) for i in range(deepest)
                ]
        return values

    def _share(self, asked: Asked, i: int, depth: str, deepest: int) -> float | None:
        with asked.when(depth, range(max(2, i + 1), deepest + 1)):
            bounds = (1 / self.ratio[1], 1.0)
            return asked.number(f"share_{i + 1}", bounds, log=True)


def profile(values: Record, depth: int) -> list[float]:
    """The widths relative to the widest layer."""
    shape = values["shape"]
    if depth == 1 or shape is None:
        return [1.0] * depth
    if shape == "free":
        shares = values["shares"][:depth]
        return [share / max(shares) for share in shares]
    down = [_DOWN[shape](i / (depth - 1)) for i in range(depth)]
    span = max(down) - min(down)
    # Of two layers the middle is missing, and equal widths have no span.
    down = [(x - min(down)) / span if span else 0.0 for x in down]
    return [(values["ratio"] or 1.0) ** -x for x in down]


def resolved(
    values: Record,
    shape: Sequence[float],
    count: Callable[[list[int]], int],
    *,
    step: int = 1,
    extra: bool = True,
) -> list[int]:
    """The widths: of a width, or as large as a budget allows.

    Args:
        values: What `Widths.ask` found.
        shape: The relative widths.
        count: From widths to the number of parameters; it grows with each of them.
        step: What widths are multiples of.
        extra: Whether single layers may get one step more where that fits.
    """
    if "width" in values:
        return _at(values["width"] / step, shape, step)
    budget = values["budget"]
    least = count(_at(0.0, shape, step))
    hint = f"The narrowest such network has {least} parameters."
    require(least <= budget, "parameter_budget", budget, "large enough", hint)
    low, high = 0.0, 1.0
    while count(_at(high, shape, step)) <= budget:
        low, high = high, 2 * high
    # `low` fits the budget and `high` does not.
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        fits = count(_at(middle, shape, step)) <= budget
        low, high = (middle, high) if fits else (low, middle)
    # Rounding down leaves some of the budget, for one more unit here and there.
    widths = _at(low, shape, step)
    for i in range(len(widths) if extra else 0):
        more = [w + step * (j == i) for j, w in enumerate(widths)]
        widths = more if count(more) <= budget else widths
    return widths


def _at(scale: float, shape: Sequence[float], step: int) -> list[int]:
    # A share of 1 / 3 of 9 units is 3 of them, whatever rounding says.
    return [step * max(1, math.floor(scale * share * (1 + 1e-9))) for share in shape]
