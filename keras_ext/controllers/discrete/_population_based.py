"""Evolves the settings of many trainings."""

from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np

from keras_ext._core._checks import checked_seed, choice, is_number, number, require
from keras_ext._core._described import Described


class PopulationBased(Described):
    """Lets the worst of a population continue from the best, with other settings.

    Several models are trained with different hyperparameters. After each round their
    scores are compared. The worst `truncation` of them each take over the weights and
    settings of one of the best (exploit), and their settings are changed (explore):
    each number is multiplied by one of `factors`, or redrawn. So the settings follow a
    schedule that you need not write, at the cost of training all members.

    A value of 0 stays 0 when multiplied: redraw it, or keep 0 out of the settings.

    Args:
        settings: The settings of each member, two or more dictionaries with the same
            names, from name to number.
        truncation: Number in (0, 0.5], the share of members replaced by as many of the
            best, at least one. Defaults to `0.2`.
        factors: What a number may be multiplied with. Defaults to `(0.8, 1.2)`.
        resample: Dictionary from name to a function that draws a value, given a
            `numpy.random.Generator`. None means that nothing is redrawn.
        resample_probability: Number in [0, 1], how often a number in `resample` is
            drawn, and not multiplied. Defaults to `0.25`.
        bounds: Dictionary from name to a pair `(low, high)` to which the value is
            clipped. None means no bounds.
        mode: `"min"` if a lower score is better, or `"max"`. Defaults to `"min"`.
        seed: Integer, the seed of all draws. None means random.

    Attributes:
        settings: The present settings, a list of dictionaries.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras_ext as kx
        >>> settings = [{"rate": 0.1}, {"rate": 0.5}]
        >>> population = kx.controllers.PopulationBased(settings, seed=0)
        >>> population.update([0.3, 0.9])  # losses: the second goes on as the first
        [0, 0]
        >>> population.settings
        [{'rate': 0.1}, {'rate': 0.12}]

    References:
        - [Jaderberg et al., 2017](https://arxiv.org/abs/1711.09846)
    """

    remembered: ClassVar[tuple[str, ...]] = ("settings", "_random")

    def __init__(
        self,
        settings: Sequence[Mapping[str, float]],
        *,
        truncation: float = 0.2,
        factors: Sequence[float] = (0.8, 1.2),
        resample: Mapping[str, Callable[[np.random.Generator], float]] | None = None,
        resample_probability: float = 0.25,
        bounds: Mapping[str, tuple[float, float]] | None = None,
        mode: str = "min",
        seed: int | None = None,
    ) -> None:
        names = _checked_names(settings)
        valid = isinstance(factors, list | tuple) and len(factors) > 0
        valid = valid and all(is_number(f) and f > 0 for f in factors)
        require(valid, "factors", factors, "a list of numbers > 0")
        for name, given, what, valid_value in (
            ("resample", resample, "functions", callable),
            ("bounds", bounds, "pairs (low, high)", _is_pair),
        ):
            valid = given is None or (
                isinstance(given, Mapping)
                and set(given) <= set(names)
                and all(map(valid_value, given.values()))
            )
            expected = f"a dictionary to {what} from names among {names}, or None"
            require(valid, name, given, expected)
        self.settings = [dict(member) for member in settings]
        self.truncation = number(truncation, "truncation", above=0, high=0.5)
        self.factors = tuple(factors)
        self.resample = dict(resample or {})
        self.resample_probability = number(
            resample_probability, "resample_probability", low=0, high=1
        )
        self.bounds = dict(bounds or {})
        self.mode = choice(mode, "mode", ("min", "max"))
        self.seed = checked_seed(seed)
        self._random = np.random.default_rng(self.seed)

    def update(self, scores: Sequence[float]) -> list[int]:
        """Compares the members, and changes `settings` of the worst.

        Args:
            scores: The score of each member; one that is not finite is the worst.

        Returns:
            For each member the number of the one whose weights and optimizer state it
            has to go on with: mostly its own.
        """
        count = len(self.settings)
        require(len(scores) == count, "len(scores)", len(scores), str(count))
        sign = 1 if self.mode == "min" else -1
        costs = [sign * s if is_number(s) else np.inf for s in scores]
        # Of equal costs the first member is the better one, on every machine.
        order = [int(i) for i in np.argsort(costs, kind="stable")]
        cut = max(1, int(self.truncation * count))
        best, worst = order[:cut], order[-cut:]
        sources = list(range(count))
        for member in worst:
            source = best[self._random.integers(cut)]
            if costs[source] < np.inf:
                sources[member] = source
                self.settings[member] = self._explore(self.settings[source])
        return sources

    def _explore(self, member: Mapping[str, float]) -> dict[str, float]:
        changed = {}
        for name, value in member.items():
            draws = self._random.random() < self.resample_probability
            if name in self.resample and draws:
                value = self.resample[name](self._random)
            else:
                value = value * self.factors[self._random.integers(len(self.factors))]
            low, high = self.bounds.get(name, (-np.inf, np.inf))
            changed[name] = float(min(max(value, low), high))
        return changed


def _checked_names(settings: Sequence[Mapping[str, float]]) -> list[str]:
    """The names of the settings, which all members have."""
    names: list[list[str]] = []
    if isinstance(settings, Sequence) and all(isinstance(m, Mapping) for m in settings):
        names = [sorted(member, key=str) for member in settings]
    require(
        len(names) >= 2 and all(n == names[0] and n for n in names),
        "settings",
        settings,
        "a list of two or more dictionaries with the same names",
    )
    numbers = (value for member in settings for value in member.values())
    require(all(map(is_number, numbers)), "settings", settings, "numbers by name")
    return list(names[0])


def _is_pair(bounds: Any) -> bool:
    is_pair = isinstance(bounds, Sequence) and len(bounds) == 2
    return is_pair and all(isinstance(x, Real) for x in bounds)
