"""How well values predict what perturbations do."""

import numpy as np

from keras_ext._core._checks import flag, integer, require
from keras_ext._core._progress import Progress
from keras_ext._core._typing import Data, Explanation
from keras_ext.explain._explainer import Explainer
from keras_ext.explain._inputs import take
from keras_ext.explain._perturbations import perturbed, shaped_perturbations
from keras_ext.explain._subject import Subject


def infidelity(
    explanation: Explanation,
    explainer: Explainer,
    *,
    x: Data,
    perturbations: np.ndarray | None = None,
    num_samples: int = 200,
    normalize: bool = False,
    seed: int = 0,
) -> np.ndarray:
    """Compares what values say of perturbations with what the model does.

    It is the mean of `(predicted - actual)**2` over perturbations of the row. By
    default players are removed, that is, replaced by the background: predicted is the
    sum of their values, actual what the output loses. How many are removed is drawn
    from one to all, each number equally often, and then which.

    Perturbations that are numbers are subtracted from the row, and the values are taken
    for gradients, as those of saliency maps are: predicted is their product with the
    perturbation.

    Args:
        explanation: A `shap.Explanation` by any method, or an array of values.
        explainer: An explainer of the same model, outputs and groups.
        x: The explained rows, as the model takes them.
        perturbations: None to draw them. An array of bool, `(samples, players)`, that
            is true where a player is removed. Or numbers to subtract, `(samples,
            elements)` or `(samples, ...)` with the shape of a row.
        num_samples: Integer >= 1, how many are drawn. Defaults to `200`.
        normalize: Whether values are first multiplied by the number for each row that
            makes it smallest, so that their unit does not count. Defaults to `False`.
        seed: Integer >= 0. Defaults to `0`.

    Returns:
        `(rows,)`, or `(rows, outputs)` if several are explained; 0 is perfect. In units
        of the output, squared.

    Raises:
        ValueError: If an argument is not of this form, or the explanation is not of
            these rows, players and outputs.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> explainer = kx.explain.Explainer(model, background=np.zeros((1, 3)))
        >>> x = np.ones((2, 3))
        >>> found = kx.explain.metrics.infidelity(explainer(x), explainer, x=x)
        >>> print(found.shape, found.max() < 1e-6)
        (2,) True

    References:
        - [Yeh et al., 2019](https://arxiv.org/abs/1901.09392)
    """
    flag(normalize, "normalize")
    subject = Subject(explanation, explainer, x)
    if perturbations is None:
        perturbations = _removals(subject.problem.players.count, num_samples, seed)
    given = np.asarray(perturbations)
    rule = "numbers to subtract, or bool that says who is removed"
    require(given.dtype.kind in "bf", "perturbations", given.dtype.name, rule)
    by = _removing if given.dtype.kind == "b" else _subtracting
    predicted, actual = by(subject, given)
    if normalize:
        # The slope of least squares through the origin.
        best = (predicted * actual).mean(axis=1), (predicted**2).mean(axis=1)
        scale = np.divide(*best, out=np.ones_like(best[1]), where=best[1] > 0)
        predicted = predicted * scale[:, None]
    return subject.shaped(((predicted - actual) ** 2).mean(axis=1))


def _removals(players: int, samples: int, seed: int) -> np.ndarray:
    samples = integer(samples, "num_samples", low=1)
    seed = integer(seed, "seed", low=0)
    rng = np.random.default_rng(seed)
    ranks = np.argsort(rng.random((samples, players)), axis=1)
    return ranks < rng.integers(1, players + 1, (samples, 1))


def _removing(subject: Subject, removed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What was predicted and what happened, `(rows, samples, k)`."""
    count = subject.problem.players.count
    valid = removed.ndim == 2 and removed.shape[1] == count
    require(valid, "perturbations", removed.shape, f"of the shape (samples, {count})")
    predicted = np.einsum("sp,rpk->rsk", removed, subject.values)
    rows = subject.rows
    left = subject.coalitions().values(rows.parts, rows.which, ~removed, Progress())
    return predicted, rows.explained[:, None] - left


def _subtracting(subject: Subject, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same for what is subtracted from the elements."""
    noise = shaped_perturbations(noise, subject.problem)
    predicted = np.einsum("sp,rpk->rsk", noise, subject.values)
    rows = subject.rows
    actual, progress = np.zeros_like(predicted), Progress()
    for row in range(len(actual)):
        parts = take(rows.parts, np.repeat(row, len(noise)))
        which = np.tile(rows.which[row], (len(noise), 1))
        outputs = subject.outputs(perturbed(parts, -noise, subject.problem), which)
        actual[row] = rows.explained[row] - outputs
        progress(row + 1, len(actual))
    return predicted, actual
