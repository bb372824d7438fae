"""A policy that says how to move a learning rate, learned on small tasks."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np

FEATURES, HIDDEN = 7, 6
SIZE = (FEATURES + 1) * HIDDEN + HIDDEN + 1
_FILE = Path(__file__).with_name("_rate_policy.json")
_SMOOTHING = 0.3


class Seen:
    """What the policy sees of the losses so far, of many trainings at once.

    Args:
        loss: The logarithms of the first losses.
    """

    # By a training that goes on.
    remembered: ClassVar[tuple[str, ...]] = (
        "loss",
        "best",
        "trend",
        "spread",
        "fall",
        "count",
    )

    def __init__(self, loss: np.ndarray) -> None:
        self.loss = self.best = loss
        self.trend = np.zeros_like(loss)
        self.spread = np.full_like(loss, 0.05)
        self.fall = np.zeros_like(loss)
        self.count = 0

    def features(
        self, loss: np.ndarray, burst: np.ndarray, moved: np.ndarray
    ) -> np.ndarray:
        """A row for each training.

        Args:
            loss: The logarithms of the losses now.
            burst: Whether something was taken back.
            moved: The logarithms of what the rates are multiplied by.
        """
        fall = np.clip(self.loss - loss, -1, 1)
        change = np.abs(fall - self.fall)
        self.count += 1
        self.trend = self.trend + _SMOOTHING * (fall - self.trend)
        self.spread = self.spread + _SMOOTHING * (change - self.spread)
        self.loss, self.fall = loss, fall
        self.best = np.minimum(self.best, loss)
        columns = [
            5 * fall,
            5 * self.trend,
            np.log(self.spread + 1e-3) / 3 + 1,
            3 * np.clip(loss - self.best, 0, 1),
            moved / 4,
            np.full_like(loss, np.log(self.count) / 3),
            np.where(burst, 1.0, 0.0),
        ]
        return np.stack(columns, axis=-1)


def rate_policy(parameters: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """From features to changes of the logarithm of the rate, between -1 and 1.

    Args:
        parameters: A row for each training, or one for all.
    """
    parameters = np.atleast_2d(parameters)
    n = FEATURES * HIDDEN
    into = parameters[:, :n].reshape(-1, FEATURES, HIDDEN)
    bias = parameters[:, n : n + HIDDEN]
    out, last = parameters[:, n + HIDDEN : -1], parameters[:, -1]

    # Not a function within, which cannot be pickled with the callback.
    return functools.partial(_moved, into, bias, out, last)


def _moved(
    into: np.ndarray,
    bias: np.ndarray,
    out: np.ndarray,
    last: np.ndarray,
    features: np.ndarray,
) -> np.ndarray:
    hidden = np.tanh((features[:, :, None] * into).sum(axis=1) + bias)
    return np.tanh((hidden * out).sum(axis=-1) + last)


def learned_parameters() -> np.ndarray:
    """Those that `benchmarks/studies/reinforced_learning_rate.py` has found."""
    return np.array(json.loads(_FILE.read_text())["weights"])
