"""How far two explanations agree."""

import numpy as np

from keras_ext._core._checks import is_integer, require
from keras_ext._core._typing import Explanation
from keras_ext.explain._values import by_player, has_outputs, rank_correlation


def agreement(
    first: Explanation, second: Explanation, *, top: int = 5
) -> dict[str, np.ndarray]:
    """Compares two explanations of the same rows, by two methods or two models.

    Args:
        first: A `shap.Explanation`, or an array of values.
        second: Another one, of the same shape.
        top: How many players with the largest values, of either sign, `"top_overlap"`
            and `"sign_agreement"` look at, an integer. Defaults to `5`.

    Returns:
        A dictionary of arrays `(rows,)`, or `(rows, outputs)` if there are several:
        `"rank_correlation"`, Spearman's of all values, from -1 to 1, NaN if all values
        of a row are equal; `"top_overlap"`, which fraction of the top players of one is
        among those of the other; and `"sign_agreement"`, which fraction is there with
        the same sign.

    Raises:
        ValueError: If an argument is not of this form.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> x, background = np.ones((1, 3)), np.zeros((1, 3))
        >>> exact = kx.explain.Explainer(model, background, method="exact")(x)
        >>> deep = kx.explain.Explainer(
        ...     model, background, method="integrated_gradients"
        ... )(x)
        >>> kx.explain.metrics.agreement(exact, deep, top=2)["top_overlap"]
        array([1.])

    References:
        - [Krishna et al., 2022](https://arxiv.org/abs/2202.01602)
    """
    a, b = by_player(first, "first"), by_player(second, "second")
    rule = f"of the same rows, players and outputs as the first, {a.shape}"
    require(a.shape == b.shape, "second", b.shape, rule)
    valid = is_integer(top) and 0 < top <= a.shape[1]
    require(valid, "top", top, f"an integer from 1 to {a.shape[1]}, the players")
    both = _is_top(a, top) & _is_top(b, top)
    found = {
        "rank_correlation": rank_correlation(a, b),
        "top_overlap": both.sum(axis=1) / top,
        "sign_agreement": (both & (np.sign(a) == np.sign(b))).sum(axis=1) / top,
    }
    if has_outputs(first):
        return found
    return {name: values[:, 0] for name, values in found.items()}


def _is_top(values: np.ndarray, top: int) -> np.ndarray:
    """Which players have the largest absolute values; of equal ones, the first."""
    order = np.argsort(-np.abs(values), axis=1, kind="stable")
    return np.argsort(order, axis=1) < top
