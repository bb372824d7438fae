"""What the tuners that stand in for those of KerasTuner have in common."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import keras
import keras_tuner

# What makes a compiled model, for each configuration of hyperparameters.
Builder: TypeAlias = Callable[[keras_tuner.HyperParameters], keras.Model]

_OF_ORACLES = {
    "hyperparameters",
    "tune_new_entries",
    "allow_new_entries",
    "max_retries_per_trial",
    "max_consecutive_failed_trials",
    "scheduler",
    "time_budget",
}


def split(arguments: Mapping[str, object]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments that are of the oracle, and those that are of the tuner."""
    of_oracle = {n: v for n, v in arguments.items() if n in _OF_ORACLES}
    return of_oracle, {n: v for n, v in arguments.items() if n not in _OF_ORACLES}
