"""How much an explanation changes when the row hardly does."""

import numpy as np

from keras_ext._core._checks import integer, number
from keras_ext._core._progress import Progress
from keras_ext._core._typing import Data, Explanation
from keras_ext.explain._explainer import Explainer
from keras_ext.explain._perturbations import perturbed, shaped_perturbations
from keras_ext.explain._subject import Subject


def sensitivity_max(
    explanation: Explanation,
    explainer: Explainer,
    *,
    x: Data,
    radius: float = 0.02,
    num_samples: int = 10,
    perturbations: np.ndarray | None = None,
    budget: int | str = "auto",
    seed: int = 0,
) -> np.ndarray:
    """Explains rows nearby, and takes the largest change of the values.

    It is the largest `|values of x + change - values of x| / |values of x|` (of
    Euclidean norms) over some changes no element of which exceeds `radius`. The same
    outputs are explained, also with `outputs="top"`. A bounded number of changes is
    tried, so that it is a lower bound.

    Args:
        explanation: What the explainer returned for the rows.
        explainer: The explainer, without groups and of real inputs.
        x: The explained rows, as the model takes them.
        radius: Positive number, the largest change of an element, in its unit. Defaults
            to `0.02`.
        num_samples: Integer >= 1, how many changes are drawn, the same for all
            rows. Each takes an explanation of all rows. Defaults to `10`.
        perturbations: Changes to add in place of drawn ones: `(samples, elements)`, or
            `(samples, ...)` with the shape of a row. None draws them.
        budget: That with which the rows were explained. Defaults to `"auto"`.
        seed: Integer >= 0. Defaults to `0`.

    Returns:
        `(rows,)`, or `(rows, outputs)` if several are explained; 0 says that nothing
        changes.

    Raises:
        ValueError: If an argument is not of this form, or the explanation is not of
            these rows, players and outputs.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> explainer = kx.explain.Explainer(model, background=np.zeros((1, 3)))
        >>> x = np.ones((2, 3))
        >>> found = kx.explain.metrics.sensitivity_max(explainer(x), explainer, x=x)
        >>> print(found.shape, found.max() <= 0.021)
        (2,) True

    References:
        - [Yeh et al., 2019](https://arxiv.org/abs/1901.09392)
    """
    radius = number(radius, "radius", above=0)
    subject = Subject(explanation, explainer, x)
    if perturbations is None:
        size = subject.problem.inputs.num_elements
        perturbations = radius * _cube(num_samples, size, seed)
    changes = shaped_perturbations(np.asarray(perturbations), subject.problem)
    norm = np.linalg.norm(subject.values, axis=1)
    largest = np.zeros_like(norm)
    progress = Progress()
    for done, change in enumerate(changes, start=1):
        parts = perturbed(subject.rows.parts, change[None], subject.problem)
        moved = subject.explained(parts, budget) - subject.values
        largest = np.maximum(largest, np.linalg.norm(moved, axis=1))
        progress(done, len(changes))
    return subject.shaped(largest / np.where(norm > 0, norm, 1.0))


def _cube(samples: int, elements: int, seed: int) -> np.ndarray:
    samples = integer(samples, "num_samples", low=1)
    seed = integer(seed, "seed", low=0)
    return np.random.default_rng(seed).uniform(-1, 1, (samples, elements))
