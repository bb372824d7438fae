"""The numbers in what `fit` and `run_trial` return."""

import itertools
import math
from typing import NoReturn, TypeAlias

import keras
import numpy as np
from keras_tuner import Objective
from keras_tuner.src.engine import tuner_utils

from keras_ext.tuner._objectives import cost_of, parts_of

# What a training, or `run_trial`, gives back.
Result: TypeAlias = float | dict[str, float] | keras.callbacks.History


def metrics_of(
    results: Result | list[Result], objective: Objective
) -> tuple[dict[str, float], int]:
    """The metrics of a trial, and the epoch that they are of.

    As in KerasTuner, but that an epoch whose objective is not finite is never the best:
    there, NaN in the first hides all others.

    Args:
        results: A number, a dictionary, a `History`, or a list of these, one for each
            execution, of which the mean is taken.
        objective: The objective of the search.

    Raises:
        FatalTypeError: Of KerasTuner, if it is none of these.
        FatalValueError: Of KerasTuner, if a dictionary lacks the objective.
    """
    given = results if isinstance(results, list) else [results]
    given = [_with_sum(result, objective) for result in given]
    tuner_utils.validate_trial_results(given, objective, "Tuner.run_trial()")
    pairs = [_single(result, objective) for result in given]
    names = {name: None for metrics, _ in pairs for name in metrics}
    means = {
        name: float(np.mean([m[name] for m, _ in pairs if name in m])) for name in names
    }
    return means, int(np.mean([step for _, step in pairs]))


def _with_sum(result: Result, objective: Objective) -> Result:
    """A dictionary with all of several objectives lacks no sum of them."""
    if not isinstance(result, dict) or objective.name in result:
        return result
    if not objective.has_value(result):
        return result
    return {**result, objective.name: objective.get_value(result)}


def _single(result: Result, objective: Objective) -> tuple[dict[str, float], int]:
    if isinstance(result, keras.callbacks.History):
        return best_of_history(result, objective)
    return tuner_utils.convert_to_metrics_dict(result, objective), 0


def best_of_history(
    history: keras.callbacks.History, objective: Objective
) -> tuple[dict[str, float], int]:
    """The metrics of the best epoch, and its number."""
    names = list(history.history)
    # With `validation_freq`, some epochs lack some metrics.
    rows = [
        {n: v for n, v in zip(names, row, strict=True) if v is not None}
        for row in itertools.zip_longest(*history.history.values())
    ]
    if not rows:
        return {objective.name: math.nan}, 0
    known = [objective.has_value(row) for row in rows]
    # A loss that is NaN ends a training, maybe before its first validation.
    if not any(known) and not math.isnan(rows[-1].get("loss", 0.0)):
        _refuse(objective, names)
    values = [
        float(objective.get_value(row)) if has else math.nan
        for row, has in zip(rows, known, strict=True)
    ]
    # `argmin` would take the first NaN.
    costs = [cost_of(objective, v) if math.isfinite(v) else math.inf for v in values]
    best = int(np.argmin(costs))
    # A trial that goes on from another one does not begin with epoch 0.
    epochs = getattr(history, "epoch", [])
    step = epochs[best] if len(epochs) == len(rows) else best
    return {**rows[best], objective.name: values[best]}, int(step)


def _refuse(objective: Objective, names: list[str]) -> NoReturn:
    missing = [o.name for o in parts_of(objective) if o.name not in names]
    raise ValueError(
        f"`objective` must be among what `fit` logs: {names}. Received: objective="
        f"{missing}. What begins with `val_` needs data for validation, and with "
        "`validation_freq` so many epochs."
    )
