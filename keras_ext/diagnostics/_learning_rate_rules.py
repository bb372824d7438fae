"""What the losses of a range test suggest as learning rate."""

import math
from collections.abc import Callable, Sequence

import numpy as np

# The window of "slide", and what change of its slope ends it, as published.
_WINDOW, _CHANGE = 15, 0.005


def steepest(rates: np.ndarray, losses: np.ndarray) -> float:
    """The rate at which the loss falls most per factor of the rate."""
    slopes = np.diff(losses) / np.diff(np.log(rates))
    return float(rates[slopes.argmin()])


def minimum(rates: np.ndarray, losses: np.ndarray) -> float:
    """A tenth of the rate with the lowest loss."""
    return float(rates[losses.argmin()]) / 10


def valley(rates: np.ndarray, losses: np.ndarray) -> float:
    """Half of the way down the longest valley: the longest falling subsequence."""
    lengths: np.ndarray = np.ones(len(losses), int)
    for i in range(1, len(losses)):
        higher = losses[:i] > losses[i]
        if higher.any():
            lengths[i] = 1 + lengths[:i][higher].max()
    end = int(lengths.argmax())
    # As published: as if its members were next to one another.
    length = int(lengths[end])
    place = end - length + int(length / 3) + int(length / 6)
    return float(rates[max(place, 0)])


def slide(rates: np.ndarray, losses: np.ndarray) -> float:
    """Where a window coming from the right first has the same slope at both ends.

    The losses are taken relative to the first one, so that their unit does not matter.
    """
    slopes = np.gradient(losses / max(abs(float(losses[0])), 1e-30))
    window = min(_WINDOW, len(losses) // 2)
    right, left = len(losses) - 1, len(losses) - 1 - window
    found = left
    while left >= 0 and abs(slopes[right] - slopes[left]) > _CHANGE:
        found = left
        right, left = right - 1, left - 1
    return float(rates[found])


RULES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "steepest": steepest,
    "valley": valley,
    "minimum": minimum,
    "slide": slide,
}


def smoothed(losses: Sequence[float], smoothing: float) -> np.ndarray:
    """Exponential averages, each corrected for its beginning."""
    mean, result = 0.0, []
    for count, loss in enumerate(losses, start=1):
        mean = smoothing * mean + (1 - smoothing) * loss
        result.append(mean / (1 - smoothing**count))
    return np.array(result)


def has_diverged(last: float, best: float) -> bool:
    """Whether a loss is four times the best one; of a negative one, as far above it."""
    return not math.isfinite(last) or last > best + 3 * abs(best)
