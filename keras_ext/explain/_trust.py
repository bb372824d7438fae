"""Whether numbers can be trusted: finite, the same twice, and with nothing missing."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np

from keras_ext._core._checks import require

# What of a sum is no rounding: of the outputs, and of what was attributed.
_OF_OUTPUTS = 1e-4
_OF_VALUES = 0.02
# How much two identical calls may differ: accelerators add in any order.
_ROUNDING = 1e-3


def require_finite(outputs: np.ndarray, name: str) -> None:
    """Raises if outputs are no numbers, and says for how many rows.

    Args:
        outputs: `(rows, outputs)`.
        name: The argument that has the rows.
    """
    bad = np.flatnonzero(~np.isfinite(outputs).all(axis=1))
    found = f"{len(bad)} of {len(outputs)} rows with infinite or NaN outputs"
    hint = f"The first of these is row {bad[0]}." if len(bad) else ""
    rule = "of rows for which the model puts out finite numbers"
    require(not len(bad), name, found, rule, hint)


def warn_of_values_that_are_not_finite(values: np.ndarray) -> None:
    """Says how many rows have values that are no numbers, if any: `(rows, ...)`."""
    bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if bad.any():
        warnings.warn(
            f"The values of {bad.sum()} of {len(bad)} rows are infinite or NaN: so are "
            "outputs or gradients of the model between these rows and the background.",
            stacklevel=3,
        )


def warn_if_unsteady(
    evaluate: Callable[[Sequence[np.ndarray]], np.ndarray], parts: Sequence[np.ndarray]
) -> None:
    """Says for how many rows two identical calls differ, if for any."""
    first, second = evaluate(parts), evaluate(parts)
    scale = np.abs(first[np.isfinite(first)]).max(initial=0.0)
    same = np.isclose(
        first, second, rtol=_ROUNDING, atol=_ROUNDING * scale, equal_nan=True
    )
    differing = ~same.all(axis=1)
    if differing.any():
        by: float = np.nanmax(np.abs(first - second))
        warnings.warn(
            f"The outputs of {differing.sum()} of {len(same)} rows differ between two "
            f"identical calls, by up to {by:.2g}: in inference mode, too, something in "
            "the model is random or goes on changing. Values mix that with what the "
            "inputs do.",
            stacklevel=4,
        )


def matters(
    gap: np.ndarray,
    values: np.ndarray,
    scale: np.ndarray,
    chance: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Whether what values miss is more than rounding, and than chance.

    Args:
        gap: What the values miss, `(rows, k)`.
        values: The values, `(rows, players, k)`.
        scale: How large the outputs are, `(rows, k)`.
        chance: How much may be due to it, `(rows, k)`.
    """
    attributed = np.abs(values).sum(axis=1)
    least = np.maximum(_OF_VALUES * attributed, _OF_OUTPUTS * scale)
    return np.asarray(np.abs(gap) > np.maximum(least, chance))


def warn_of_gap(gap: np.ndarray, is_left: np.ndarray) -> None:
    """Says for how many rows values do not add up to the output, if for any."""
    rows = int(is_left.any(axis=1).sum())
    if rows:
        warnings.warn(
            f"The values of {rows} of {len(gap)} rows do not add up to the "
            f"output: up to {np.abs(gap[is_left]).max():.2g} is missing, see `gap` of "
            "the explanation. Gradients do not see steps, such as rounding, lookups "
            'and masks; method="permutation" does. Or the budget is too small.',
            stacklevel=3,
        )
