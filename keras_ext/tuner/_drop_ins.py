"""What the tuners that stand in for those of KerasTuner have in common."""

from typing import Any

_OF_ORACLES = {
    "hyperparameters",
    "tune_new_entries",
    "allow_new_entries",
    "max_retries_per_trial",
    "max_consecutive_failed_trials",
    "scheduler",
    "time_budget",
}


def split(arguments: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments that are of the oracle, and those that are of the tuner."""
    of_oracle = {n: v for n, v in arguments.items() if n in _OF_ORACLES}
    return of_oracle, {n: v for n, v in arguments.items() if n not in _OF_ORACLES}
