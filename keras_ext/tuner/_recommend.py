"""Configurations that did well on tasks like this one."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import keras_tuner
import numpy as np
from keras_tuner.engine import hyperparameters as kinds

from keras_ext._core._checks import integer, require
from keras_ext.tuner.spaces._optimization import Optimization, optimization

_FILE = Path(__file__).with_name("_past_trials.json")
# At which distance between two tasks, in factors of e, what one says of the other
# counts e times less.
_REACH = 2.0


class PastTrials(NamedTuple):
    """What was tried: the same configurations on several tasks.

    Attributes:
        values: For each configuration, its hyperparameters.
        tasks: For each task, the logarithms of its sizes.
        regrets: Of shape `(tasks, configurations)`: from 0 for the best to 1 for the
            median and what is worse.
    """

    values: list[dict[str, float | str]]
    tasks: np.ndarray
    regrets: np.ndarray


def recommend(
    num_rows: int,
    num_features: int,
    *,
    num_classes: int,
    depth: int,
    space: Optimization | None = None,
    count: int = 5,
) -> list[dict[str, float | str]]:
    """Configurations of `spaces.optimization` to begin a search with.

    A study tried the same configurations on several data sets and networks. This
    chooses the set that did best there on tasks of about this size. The first is the
    best single guess; each further one covers tasks that those before it do not suit.
    Pass them to `enqueue` of a tuner, and the search begins with them.

    Args:
        num_rows: Integer >= 1, how many rows there are to train with.
        num_features: Integer >= 1, how many numbers a row has.
        num_classes: Integer >= 2, how many classes there are to tell apart.
        depth: Integer >= 1, how many hidden layers the network has.
        space: What you search, a `spaces.optimization(...)`: only configurations that
            lie in it, and only names that it searches. None means all defaults.
        count: Integer >= 1, how many configurations. Defaults to `5`.

    Returns:
        A list of dictionaries from the names of hyperparameters to values, the best
        first.

    Raises:
        ValueError: If an argument is out of range, or fewer of the configurations that
            were tried lie in `space`.

    References:
        Feurer et al., "Initializing Bayesian Hyperparameter Optimization via
        Meta-Learning" (AAAI 2015).

    Examples:
        >>> import keras_ext as kx
        >>> for values in kx.tuner.recommend(
        ...     1000, 64, num_classes=10, depth=3, count=2
        ... ):
        ...     print(values["optimization/direction"])
        sgd
        rmsprop
    """
    sizes = {
        "num_rows": integer(num_rows, "num_rows", low=1),
        "num_features": integer(num_features, "num_features", low=1),
        "num_classes": integer(num_classes, "num_classes", low=2),
        "depth": integer(depth, "depth", low=1),
    }
    count = integer(count, "count", low=1)
    space = optimization() if space is None else space
    rule = "what keras_ext.tuner.spaces.optimization returns"
    require(isinstance(space, Optimization), "space", space, rule)
    past = past_trials()
    searched = _searched(space)
    inside = [
        i for i, values in enumerate(past.values) if _lies_in(space, searched, values)
    ]
    rule = f"at most {len(inside)}, since so many that were tried lie in `space`"
    require(count <= len(inside), "count", count, rule)
    past = PastTrials(
        [past.values[i] for i in inside], past.tasks, past.regrets[:, inside]
    )
    chosen = portfolio(past, np.log(list(sizes.values())), count)
    return [
        {name: v for name, v in past.values[i].items() if name in searched}
        for i in chosen
    ]


def _searched(space: Optimization) -> dict[str, kinds.HyperParameter]:
    """The hyperparameters that a space declares, by name."""
    declared = keras_tuner.HyperParameters()
    space.declare(declared)
    return {hp.name: hp for hp in declared.space}


def _lies_in(
    space: Optimization,
    searched: Mapping[str, kinds.HyperParameter],
    values: Mapping[str, float | str],
) -> bool:
    """Whether a space has a configuration, also where it searches nothing."""
    for name, options in (
        ("direction", space.directions),
        ("clip", space.clip),
        ("schedule", space.schedule),
        ("averaging", space.averaging),
    ):
        if values[f"{space.name}/{name}"] not in options:
            return False
    return all(
        searched[name].min_value <= value <= searched[name].max_value
        for name, value in values.items()
        if hasattr(searched.get(name), "min_value")
    )


def portfolio(past: PastTrials, task: np.ndarray, count: int) -> list[int]:
    """Which configurations to try, in turn, on a task of such sizes."""
    distances = np.linalg.norm(past.tasks - task, axis=1)
    # Relative to the nearest, so that a task that is far from all has advice too.
    weights = np.exp((distances.min() - distances) / _REACH)
    left = np.ones(len(past.tasks))
    chosen: list[int] = []
    for _ in range(count):
        # What would be left if one more were tried.
        then = weights @ np.minimum(past.regrets, left[:, None])
        then[chosen] = np.inf
        # Where nothing more is gained, what is best by itself comes next.
        ties = weights @ past.regrets
        best = int(np.lexsort((ties, np.round(then, 9)))[0])
        chosen.append(best)
        left = np.minimum(left, past.regrets[:, best])
    return chosen


@cache
def past_trials() -> PastTrials:
    """Reads what `benchmarks/studies/recommend.py` has written."""
    content = json.loads(_FILE.read_text())
    return PastTrials(
        content["values"],
        np.log(np.array([list(task["sizes"].values()) for task in content["tasks"]])),
        np.array([task["regrets"] for task in content["tasks"]]),
    )
