"""Small changes of rows."""

from collections.abc import Sequence

import numpy as np

from keras_ext._core._checks import require
from keras_ext.explain._problem import Problem


def shaped_perturbations(given: np.ndarray, problem: Problem) -> np.ndarray:
    """Perturbations as `(samples, elements)`, after checking that they can be made."""
    count = problem.inputs.num_elements
    kinds = [dtype.kind for dtype in problem.inputs.numpy_dtypes]
    valid = problem.players.are_elements and set(kinds) == {"f"}
    found = problem.players.count if "f" in kinds else problem.inputs.dtypes
    rule = "single elements of real inputs, as small changes are made to these"
    require(valid, "players", found, rule, "Pass an explainer without `groups`.")
    samples = len(given) if given.ndim else 0
    valid = samples > 0 and given.size == samples * count
    rule = f"of the shape (samples, {count}), or of samples of the shape of a row"
    require(valid, "perturbations", given.shape, rule)
    return given.reshape(samples, count).astype("float64")


def perturbed(
    parts: Sequence[np.ndarray], changes: np.ndarray, problem: Problem
) -> list[np.ndarray]:
    """Adds `(rows or 1, elements)` to parts."""
    split = problem.inputs.split(changes)
    return [
        (part + change).astype(part.dtype)
        for part, change in zip(parts, split, strict=True)
    ]
