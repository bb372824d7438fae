"""Where a learning curve leads: what may still come of it."""

import math
from collections.abc import Sequence

import numpy as np

# The shapes: powers and exponentials of the epoch, and its logarithm.
_POWERS = np.geomspace(0.1, 4.0, 12)
_RATES = np.geomspace(0.02, 2.0, 12)
# How uncertain coefficients are before, in standard deviations of the curve; and the
# prior of the noise, worth a measurement.
_WIDTH = 10.0
_PRIOR_SHAPE, _PRIOR_SCALE = 0.5, 0.005


def improvement_probability(
    losses: Sequence[float], total: int, *, min_delta: float = 0.0
) -> float:
    """Returns how probable it is that some later loss is below the best so far.

    Curves `c + a * shape(n)` and `c + a * shape(n) + b * n` are fitted for many shapes:
    `n ** -p`, `exp(-r * n)` and `1 / log(n + 1)`. As they are linear in `a`, `b` and
    `c`, Bayes' rule gives the weight of each shape, and what it predicts, in closed
    form. The answer is that for the most promising of the later epochs.

    Args:
        losses: The losses of the epochs so far.
        total: How many epochs there will be in all.
        min_delta: What differs less from the best is no improvement.
    """
    values: np.ndarray = np.asarray(losses, "float64")
    spread = float(values.std())
    if len(values) >= total:
        return 0.0
    if spread == 0:
        return 0.0 if min_delta > 0 else 1.0
    scaled = (values - values.mean()) / spread
    target = float(scaled.min()) - min_delta / spread
    epochs = np.arange(1.0, len(values) + 1)
    later = np.unique(np.linspace(len(values) + 1, total, 20).round())
    evidences, chances = [], []
    for columns, ahead in _designs(epochs, later):
        evidence, mean, scale, freedom = _fitted(columns, scaled, ahead)
        evidences.append(evidence)
        chances.append(_student((target - mean) / scale, freedom))
    weights = np.exp(np.array(evidences) - max(evidences))
    mixed = weights @ np.array(chances) / weights.sum()
    # The chance of any is at least that of the likeliest epoch; and epochs go together.
    return float(mixed.max())


def _designs(epochs: np.ndarray, later: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    """For each shape, its columns at the epochs so far, and at those to come."""
    both = np.concatenate([epochs, later])
    shapes = [both**-p for p in _POWERS]
    shapes += [np.exp(-r * (both - 1)) for r in _RATES]
    # The logarithm of the first epoch is 0.
    shapes += [1 / np.log(both + 1)]
    found: list[tuple[np.ndarray, ...]] = []
    for shape in shapes:
        for extra in ([], [both / len(epochs)]):
            columns = np.stack([np.ones_like(both), shape, *extra], axis=1)
            found.append((columns[: len(epochs)], columns[len(epochs) :]))
    return found


def _fitted(
    columns: np.ndarray, values: np.ndarray, ahead: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray, float]:
    """Log evidence, and the Student distributions of what lies ahead."""
    count, size = columns.shape
    precision = columns.T @ columns + np.eye(size) / _WIDTH**2
    inverse = np.linalg.inv(precision)
    place = inverse @ columns.T @ values
    rest = float(values @ values - place @ precision @ place)
    shape = _PRIOR_SHAPE + count / 2
    scale = _PRIOR_SCALE + max(rest, 0.0) / 2
    _, log_det = np.linalg.slogdet(precision)
    # Of a linear model with a normal and inverse gamma prior, without what is the same
    # for all shapes.
    evidence = -0.5 * (log_det + 2 * size * math.log(_WIDTH)) - shape * math.log(scale)
    spread = 1 + np.einsum("ij,jk,ik->i", ahead, inverse, ahead)
    return evidence, ahead @ place, np.sqrt(spread * scale / shape), 2 * shape


def _student(t: np.ndarray, freedom: float) -> np.ndarray:
    """The cumulative distribution, by the normal one (Wallace, 1959)."""
    z = np.sign(t) * np.sqrt(freedom * np.log1p(t**2 / freedom))
    z = z * (8 * freedom + 1) / (8 * freedom + 3)
    return np.array([0.5 * (1 + math.erf(x / math.sqrt(2))) for x in z])
