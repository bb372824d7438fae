"""Hyperparameters of KerasTuner as distributions of Optuna, and their values."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import keras_tuner
import optuna
from keras_tuner.engine import hyperparameters as kinds

from keras_ext.tuner._stored_oracle import Value

Distribution: TypeAlias = (
    optuna.distributions.IntDistribution
    | optuna.distributions.FloatDistribution
    | optuna.distributions.CategoricalDistribution
)


class Translation:
    """One hyperparameter in both languages.

    What has an order and few values is an index for Optuna, so that its samplers see
    which values are near. What is spaced by a reversed logarithm is a place in [0, 1].

    Args:
        hp: The hyperparameter, none that is fixed.
        space: All of them. Two may have one name under different conditions.

    Attributes:
        name: What Optuna calls it.
        values: All values of what has an order and few, else None.
        distribution: From what Optuna draws.
    """

    def __init__(
        self, hp: kinds.HyperParameter, space: Sequence[kinds.HyperParameter]
    ) -> None:
        self.hp = hp
        self.name = hp.name
        # KerasTuner has the name again under other conditions, with other values; in
        # Optuna a name has one distribution.
        if sum(other.name == hp.name for other in space) > 1:
            conditions = [condition.get_config() for condition in hp.conditions]
            self.name = f"{hp.name}|{json.dumps(conditions)}"
        self.values = _listed(hp)
        self._is_place = False
        self.distribution = self._distribution()

    def _distribution(self) -> Distribution:
        names, hp = optuna.distributions, self.hp
        if self.values is not None:
            return names.IntDistribution(0, len(self.values) - 1)
        if isinstance(hp, kinds.Boolean):
            return names.CategoricalDistribution([False, True])
        if isinstance(hp, kinds.Choice):
            return names.CategoricalDistribution(list(hp.values))
        if hp.sampling == "reverse_log":
            # Optuna has no such scale: searched is the place on it.
            self._is_place = True
            return names.FloatDistribution(0.0, 1.0)
        is_log = hp.sampling == "log"
        if isinstance(hp, kinds.Float):
            return names.FloatDistribution(hp.min_value, hp.max_value, log=is_log)
        return names.IntDistribution(hp.min_value, hp.max_value, log=is_log)

    def to_optuna(self, value: Any) -> Value:
        if self.values is not None:
            # The nearest, since steps of floats are rounded.
            gaps = [abs(other - value) for other in self.values]
            return gaps.index(min(gaps))
        return float(self.hp.value_to_prob(value)) if self._is_place else value

    def from_optuna(self, value: Any) -> Value:
        if self.values is not None:
            return self.values[int(value)]
        # A place of exactly 1 is none to KerasTuner.
        return self.hp.prob_to_value(min(value, 1 - 1e-9)) if self._is_place else value


def _listed(hp: kinds.HyperParameter) -> list[Any] | None:
    """The values of what has an order and a step, from first to last."""
    if isinstance(hp, kinds.Choice):
        return list(hp.values) if hp.ordered and len(hp.values) > 2 else None
    if isinstance(hp, kinds.Boolean) or hp.step is None:
        return None
    if isinstance(hp, kinds.Int) and hp.step == 1 and hp.sampling == "linear":
        return None
    cast = int if isinstance(hp, kinds.Int) else float
    return [cast(value) for value in hp.values]


def translated(
    space: Sequence[kinds.HyperParameter],
) -> list[Translation | kinds.Fixed]:
    """A `Translation` of each hyperparameter, those that are fixed as they are."""
    return [
        hp if isinstance(hp, kinds.Fixed) else Translation(hp, space) for hp in space
    ]


def params_of(
    space: Sequence[kinds.HyperParameter], values: Mapping[str, Value]
) -> tuple[dict[str, Value], dict[str, optuna.distributions.BaseDistribution]]:
    """Values as those of Optuna, and their distributions: of what is active alone."""
    found = keras_tuner.HyperParameters()
    params: dict[str, Value] = {}
    distributions: dict[str, optuna.distributions.BaseDistribution] = {}
    for part in translated(space):
        hp = getattr(part, "hp", part)
        found.merge([hp])
        if hp.name in values and found.is_active(hp):
            found.values[hp.name] = values[hp.name]
            if isinstance(part, Translation):
                params[part.name] = part.to_optuna(values[hp.name])
                distributions[part.name] = part.distribution
    return params, distributions
