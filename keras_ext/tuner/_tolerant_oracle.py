"""The oracle of KerasTuner that bears trials which fail."""

import math
import re

import numpy as np
from keras_tuner.engine.trial import Trial

from keras_ext.tuner._objectives import cost_of
from keras_ext.tuner._shared_oracle import SharedOracle

# The start of the message of a trial that was too large.
OUT_OF_MEMORY = "Out of memory: "
# Of Python, of TensorFlow, and of XLA, which raises errors of other kinds.
_TOO_LARGE = re.compile(
    r"^(?:[\w.]+\.)?(?:MemoryError|ResourceExhaustedError)\b.*|.*RESOURCE_EXHAUSTED.*",
    re.MULTILINE,
)


class TolerantOracle(SharedOracle):
    """Scores what is finite alone, and ends a search when code seems to be wrong."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._results: dict[str, tuple[float, int]] = {}
        self._too_many_failed = ""

    def score_trial(self, trial: Trial) -> None:
        given = self._results.pop(trial.trial_id, None)
        value, step = self._best_of(trial) if given is None else given
        trial.score, trial.best_step = value, step
        if not math.isfinite(value):
            trial.message = f"The objective `{self.objective.name}` was {value}."
            trial.score = math.nan  # by which the base knows that the trial is invalid

    def _best_of(self, trial: Trial) -> tuple[float, int]:
        """The best value that was reported, and its step."""
        seen = trial.metrics.get_history(self.objective.name)
        values = [(float(np.mean(o.value)), o.step) for o in seen]
        finite = [pair for pair in values if math.isfinite(pair[0])]
        if not finite:
            return values[-1] if values else (math.nan, 0)
        return min(finite, key=lambda pair: cost_of(self.objective, pair[0]))

    def _check_consecutive_failures(self) -> None:
        count, limit = 0, self.max_consecutive_failed_trials
        trials = [self.trials[i] for i in self.end_order]
        proven = any(trial.status == "COMPLETED" for trial in trials)
        for trial in trials:
            failed = trial.status == "FAILED"
            count = count + 1 if failed else 0
            # That some configurations diverge says something of the space alone.
            count -= failed and proven and self._says_nothing_of_the_code(trial)
        if count >= limit:
            cause = trials[-1].message or ""
            start = f"Number of consecutive failures exceeded the limit of {limit}.\n"
            self._too_many_failed = start + cause

    def _has_diverged(self, trial: Trial) -> bool:
        """Whether it ran to its end, and its objective was not finite."""
        name = self.objective.name
        reported = trial.metrics.exists(name)
        return reported and not math.isfinite(self._best_of(trial)[0])

    def _says_nothing_of_the_code(self, trial: Trial) -> bool:
        """Whether the configuration was bad, where others may be good."""
        was_too_large = (trial.message or "").startswith(OUT_OF_MEMORY)
        return was_too_large or self._has_diverged(trial)

    def _raise_if_too_many_failed(self) -> None:
        if self._too_many_failed:
            message, self._too_many_failed = self._too_many_failed, ""
            raise RuntimeError(message)


def out_of_memory(traceback: str) -> str:
    r"""What a traceback says of memory that was short; empty if it was not that.

    Examples:
        >>> from keras_ext.tuner._tolerant_oracle import out_of_memory
        >>> out_of_memory("Traceback ...\nMemoryError: 9 GB\n")
        'Out of memory: MemoryError: 9 GB'
    """
    found = _TOO_LARGE.search(traceback)
    return f"{OUT_OF_MEMORY}{found[0].strip()}" if found else ""
