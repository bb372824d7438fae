"""How benchmarks and studies say what they found, and how sure it is."""

import math
import statistics

import numpy as np
from scipy import stats


def ratios(times, base):
    """Median and quartiles of times divided by those of another, turn by turn."""
    ordered = sorted(t / b for t, b in zip(times, base, strict=True))
    quarter = len(ordered) // 4
    return statistics.median(ordered), ordered[quarter], ordered[-1 - quarter]


def half_interval(values):
    """Half the width of the 95 % confidence interval of the mean, by Student's t."""
    if len(values) < 2:
        return math.nan
    values = np.asarray(values, float)
    return float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))


def mean_and_interval(values, places):
    """As text: the mean, and how far it may be off, with so many decimal places."""
    mean = np.mean(np.asarray(values, float))
    return f"{mean:.{places}f} ± {half_interval(values):.{places}f}"


def regret(losses, reference):
    """By how much losses are above others, in percent of the mean of the others.

    Returns the mean over seeds, with half the width of its confidence interval.
    """
    differences = np.subtract(losses, reference)
    unit = float(np.mean(reference)) / 100
    return float(np.mean(differences) / unit), half_interval(differences) / unit
