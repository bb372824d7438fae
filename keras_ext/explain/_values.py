"""The numbers of a `shap.Explanation` or of a map, whatever its shape."""

import numpy as np

from keras_ext._core._checks import require
from keras_ext._core._extras import import_extra
from keras_ext._core._typing import Data, Explanation
from keras_ext.explain._arguments import as_numbers


def by_player(explanation: Explanation, name: str = "explanation") -> np.ndarray:
    """The values as `(rows, players, outputs)`, with one output if there is no axis."""
    rule = "of several rows, as Explainer returns it"
    values = as_numbers(values_of(explanation), name, rule)
    several = has_outputs(explanation)
    valid = values.ndim >= 2 + several and values.size > 0
    require(valid, name, values.shape, rule, "Take single rows as explanation[:1].")
    return values.reshape(len(values), -1, values.shape[-1] if several else 1)


def has_outputs(explanation: Explanation) -> bool:
    """Whether the last axis of the values is that of several outputs."""
    return np.ndim(getattr(explanation, "base_values", None)) == 2


def values_of(explanation: Explanation) -> Data:
    """The values, of which an array has no others."""
    return getattr(explanation, "values", explanation)


def rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's correlation of players, `(rows, outputs)`; NaN if all are equal."""
    stats = import_extra("scipy.stats", "explain")
    a, b = (stats.rankdata(v, axis=1) for v in (first, second))
    a, b = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (a, b))
    norm = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    nothing = np.full_like(norm, np.nan)
    return np.divide((a * b).sum(axis=1), norm, out=nothing, where=norm > 0)
