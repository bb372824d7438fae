"""How benchmarks and studies say what they found, and how sure it is."""

import math
import statistics

from scipy import stats


def ratios(times, base):
    """Median and quartiles of times divided by those of another, turn by turn."""
    ordered = sorted(t / b for t, b in zip(times, base, strict=True))
    quarter = len(ordered) // 4
    return statistics.median(ordered), ordered[quarter], ordered[-1 - quarter]


def half_interval(values):
    """Half the width of the 95 % confidence interval of the mean, by Student's t."""
    n = len(values)
    if n < 2:
        return math.nan
    return stats.t.ppf(0.975, n - 1) * statistics.stdev(values) / math.sqrt(n)
