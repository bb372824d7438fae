"""A linear model of a model, for random parts of a row that are left."""

import keras
import numpy as np

from keras_ext._core._checks import integer, number
from keras_ext._core._typing import Data, OutputChoice
from keras_ext.explain._coalitions import Coalitions
from keras_ext.explain._players import Groups
from keras_ext.explain.maps._question import Map, Question


def lime(  # noqa: PLR0913
    model: keras.Model,
    x: Data,
    *,
    outputs: OutputChoice = "top",
    background: Data = None,
    groups: Groups = None,
    num_samples: int = 1000,
    kernel_width: float = 0.25,
    alpha: float = 1.0,
    batch_size: int | str = "auto",
    jit: bool = False,
    seed: int = 0,
) -> Map:
    """Maps the coefficients of a linear model that is near to the model (LIME).

    Elements or groups of them are left as they are or hidden, at random. A ridge
    regression on who was left, with more weight where more was, says what each adds.
    The defaults are the authors' for images. For any model. Where Shapley values can be
    had, by `Explainer`, they are better defined: these depend on `kernel_width`.

    Args:
        model: A built model of any kind; it is called in inference mode.
        x: The rows, as the model takes them: an array, or a list, tuple or dictionary
            of arrays, or a DataFrame.
        outputs: Which outputs, as for `Explainer`. Defaults to `"top"`.
        background: Rows as the model takes them, to hide with; the mean over all of
            them counts. None hides with zeros.
        groups: Elements that come and go together, as for `Explainer`. None means that
            each comes by itself.
        num_samples: Integer >= 2, how often something is hidden. Defaults to `1000`.
        kernel_width: Positive number: a sample at the cosine distance `d` from the row
            has the weight `exp(-d**2 / (2 * kernel_width**2))`. Defaults to `0.25`.
        alpha: Non-negative number, the penalty of the ridge regression. Defaults to
            `1.0`.
        batch_size: How many rows the model gets at a time, or `"auto"` for a number
            that follows from the memory that a row takes. Defaults to `"auto"`.
        jit: Whether to compile with XLA. Defaults to `False`.
        seed: Integer >= 0. The same seed gives the same map, whatever rows are
            explained together. Defaults to `0`.

    Returns:
        Array of the shape of `x`, with the coefficient of its group for each element;
        for several inputs a dictionary of such, by name. If there are several outputs,
        they have an axis of their own, the last.

    Raises:
        ValueError: If an argument is not of this form.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.set_weights([np.array([[1.0], [-2.0], [0.0]]), np.zeros(1)])
        >>> x = np.array([[3.0, 1.0, 5.0]])
        >>> print(kx.explain.maps.lime(model, x, alpha=0.0).round(4) + 0.0)
        [[ 3. -2.  0.]]

    References:
        - [Ribeiro et al., 2016](https://arxiv.org/abs/1602.04938)
    """
    num_samples = integer(num_samples, "num_samples", low=2)
    kernel_width = number(kernel_width, "kernel_width", above=0)
    alpha = number(alpha, "alpha", low=0)
    seed = integer(seed, "seed", low=0)
    question = Question(model, x, outputs, batch_size, jit)
    problem = question.problem(background, groups)
    rng = np.random.default_rng(seed)
    left = rng.random((num_samples, problem.players.count)) < 0.5
    # As in the authors' code, the first sample is the row itself.
    left[0] = True
    values = Coalitions(problem).values(
        question.parts, question.which, left, question.progress()
    )
    operator = ridge(left, kernel(left, kernel_width), alpha)
    found = np.einsum("ps,rsk->rpk", operator, values, optimize=True)
    return question.shaped(found[:, problem.players.of_element])


def kernel(left: np.ndarray, width: float) -> np.ndarray:
    """The weights of samples by their cosine distance from all being left."""
    # The cosine of z and ones is sum(z) / (sqrt(sum(z)) sqrt(P)) = sqrt(mean(z)).
    distance = 1 - np.sqrt(left.mean(axis=1))
    return np.exp(-(distance**2) / (2 * width**2))


def ridge(left: np.ndarray, weights: np.ndarray, alpha: float) -> np.ndarray:
    """Ridge regression with an intercept, as a matrix that acts on the values.

    Args:
        left: `(S, P)`, who is left in each sample.
        weights: The weights of the samples.
        alpha: The penalty of the squares of coefficients.

    Returns:
        `(P, S)`.
    """
    z: np.ndarray = left.astype("float64")
    root = np.sqrt(weights)[:, None]
    a = root * (z - np.average(z, axis=0, weights=weights))
    samples, players = a.shape
    # Whichever of the two equivalent systems is smaller.
    if players <= samples:
        return _inverse(a.T @ a, alpha) @ (a * root).T
    # (A' A + alpha I)^-1 A' is A' (A A' + alpha I)^-1.
    return a.T @ _inverse(a @ a.T, alpha) * root.T


def _inverse(gram: np.ndarray, alpha: float) -> np.ndarray:
    if alpha == 0:  # players who always come together share evenly
        return np.linalg.pinv(gram, hermitian=True)
    return np.linalg.inv(gram + alpha * np.eye(len(gram)))
