"""Search by a population of configurations that ages."""

from collections.abc import Mapping
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.engine import hyperparameters as kinds
from keras_tuner.engine.trial import Trial

from keras_ext._core._checks import integer, require
from keras_ext._core._typing import Record
from keras_ext.tuner._draws import draw
from keras_ext.tuner._drop_ins import Builder, split
from keras_ext.tuner._objectives import cost_of, require_single
from keras_ext.tuner._oracle import Oracle
from keras_ext.tuner._stored_oracle import Value, active_in
from keras_ext.tuner._tuner import Tuner

# How far a number is moved: the deviation, as a part of its whole range.
_FAR = 0.15


class EvolutionOracle(Oracle):
    """Changes one hyperparameter of one of the best of the last configurations."""

    def __init__(self, *args: Any, population: int, tournament: int, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.population = population
        self.tournament = tournament
        # Of whom a trial is a changed copy, by their names.
        self.parents: dict[str, str] = {}

    def populate_space(self, trial_id: str) -> Record:
        queued = self._next_queued()
        if queued is not None:
            return {"status": "RUNNING", "values": queued}
        living = self._living()
        if len(self.start_order) >= self.population and len(living) >= 2:
            for attempt in range(self._max_collisions + 1):
                parent = self._parent(living, attempt)
                values = self._changed(parent.hyperparameters.values, attempt)
                if not self._duplicate(values):
                    self.parents[trial_id] = parent.trial_id
                    return {"status": "RUNNING", "values": values}
        drawn = self._random_values()
        status = "STOPPED" if drawn is None else "RUNNING"
        return {"status": status, "values": drawn}

    def _living(self) -> list[Trial]:
        """The last that have ended well: the oldest die, however good they are."""
        ended = [self.trials[i] for i in self.end_order]
        return [t for t in ended if t.status == "COMPLETED"][-self.population :]

    def _number(self, attempt: int, what: str) -> float:
        return draw(self.seed, len(self.start_order), attempt, f"evolution/{what}")

    def _parent(self, living: list[Trial], attempt: int) -> Trial:
        """The best of some that are drawn without order."""
        # Each of the living has a number of its own: a sample without repetition.
        order = np.argsort([self._number(attempt, f"{i}") for i in range(len(living))])
        drawn = [living[i] for i in order[: self.tournament]]
        return min(drawn, key=lambda t: cost_of(self.objective, t.score))

    def _changed(self, values: Mapping[str, Value], attempt: int) -> dict[str, Value]:
        """Values of which one is another, and those that only now are there drawn."""
        active = [hp for hp in self._searched() if hp.name in values]
        # A name may come several times, under different conditions.
        names = list(dict.fromkeys(hp.name for hp in active))
        place = self._number(attempt, "which")
        chosen = names[int(place * len(names))] if names else None
        before = active_in(self.hyperparameters.space, values)
        found = keras_tuner.HyperParameters()
        for hp in self.hyperparameters.space:
            # `is_active` asks the values of parents, which come first in a space.
            found.merge([hp])
            if not found.is_active(hp):
                continue
            # Another one of this name, under other conditions, has other values.
            is_same = before.get(hp.name) is hp
            value = values.get(hp.name) if is_same else None
            if isinstance(hp, kinds.Fixed):
                value = hp.value
            elif hp.name == chosen:
                value = self._moved(hp, values[chosen], attempt)
            elif value is None:
                where = draw(self.seed, len(self.start_order), attempt, hp.name)
                value = hp.prob_to_value(where)
            found.values[hp.name] = value
        return found.values

    def _searched(self) -> list[kinds.HyperParameter]:
        space = self.hyperparameters.space
        return [hp for hp in space if not isinstance(hp, kinds.Fixed)]

    def _moved(self, hp: kinds.HyperParameter, value: Value, attempt: int) -> Value:
        """Another value: a near one of what has an order, any of others."""
        is_choice = isinstance(hp, kinds.Choice | kinds.Boolean)
        if is_choice and not getattr(hp, "ordered", False):
            others = [other for other in hp.values if other != value]
            where = self._number(attempt, "where")
            return others[int(where * len(others))] if others else value
        place = hp.value_to_prob(value)
        # Where there are few values, a near place is often that of the same one.
        for again in range(20):
            # A normal number, of two uniform ones.
            radius = np.sqrt(-2 * np.log(1 - self._number(attempt, f"far {again}")))
            angle = 2 * np.pi * self._number(attempt, f"side {again}")
            moved = abs(place + _FAR * radius * np.cos(angle))
            moved = 1 - abs(1 - moved % 2)  # back at the edges
            found = hp.prob_to_value(float(min(max(moved, 0.0), 1 - 1e-9)))
            if found != value:
                return found
        return value


class Evolution(Tuner):
    """Searches by aging evolution: for architectures, and for many trials.

    The first `population` configurations are random. Each later one is a copy of the
    best of `tournament` of the living with one hyperparameter changed: another one of
    words and of True and False, a near one of numbers. The living are the last
    `population` that have ended; the oldest dies, even if it is the best, so that what
    was good by luck has to prove it again. It looks near what is good, needs no model
    of the objective, and takes spaces with many conditions, such as those of
    `keras_ext.tuner.spaces`; with less than some hundred trials `OptunaOracle` needs
    fewer of them.

    Args:
        hypermodel: Function from `keras_tuner.HyperParameters` to a compiled model, or
            a `keras_tuner.HyperModel`. None if a subclass overrides `run_trial`.
        objective: What is logged, as `"val_accuracy"`, a `keras_tuner.Objective`, or
            None for the number that is returned.
        max_trials: Integer >= 1 or None, how many configurations are tried. Defaults to
            `200`.
        population: Integer >= 2, how many are alive. Defaults to `20`.
        tournament: Integer >= 1, of how many of them the best is taken. Defaults to
            `5`.
        seed: Integer, the seed of all draws. None means random.
        **kwargs: Other arguments of `Oracle` and `Tuner`, such as `scheduler`,
            `time_budget`, `directory`, `project_name`, `overwrite`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import tempfile
        >>> import keras_ext as kx
        >>> class Bits(kx.tuner.Evolution):
        ...     def run_trial(self, trial, **kwargs):
        ...         hp = trial.hyperparameters
        ...         return sum(hp.Boolean(f"bit_{i}") for i in range(8))
        >>> folder = tempfile.mkdtemp()
        >>> search = Bits(max_trials=60, seed=0, directory=folder)
        >>> search.search(verbose=0)
        >>> search.oracle.get_best_trials()[0].score  # of 256, all are False in one
        0.0

    References:
        - [Real et al., 2019](https://arxiv.org/abs/1802.01548)
    """

    def __init__(
        self,
        hypermodel: keras_tuner.HyperModel | Builder | None = None,
        objective: str | keras_tuner.Objective | None = None,
        max_trials: int | None = 200,
        *,
        population: int = 20,
        tournament: int = 5,
        seed: int | None = None,
        **kwargs: object,
    ) -> None:
        integer(population, "population", low=2)
        integer(tournament, "tournament", low=1)
        rule = f"at most population={population}"
        require(tournament <= population, "tournament", tournament, rule)
        of_oracle, of_tuner = split(kwargs)
        oracle = EvolutionOracle(
            require_single(objective),
            max_trials,
            population=population,
            tournament=tournament,
            seed=seed,
            **of_oracle,
        )
        Tuner.__init__(self, oracle, hypermodel, **of_tuner)
