"""Descends on a hyperparameter by the gradient of the validation loss."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_ext._core._checks import choice, number
from keras_ext._core._described import Described

_RULES = ("adam", "sign", "normalized")
# Adam's, with numbers whose size is unknown: only against division by zero.
_TINY = 1e-30


class Hypergradient(Described):
    """Says by how much to move hyperparameters down the gradient of a loss.

    The gradient is that of the validation loss after a step of training, with respect
    to the hyperparameters that the step used, on the scale on which they are moved (for
    a strength on the log scale: the gradient times the strength).
    `penalty_gradient` computes it for the strength of a penalty. Such gradients are
    noisy and of any size. So they are averaged, and the average says the direction:

    - `"adam"` divides it by the root of the average square, for each number apart;
    - `"sign"` moves each number by a full step;
    - `"normalized"` moves along it, by a full step in all.

    It looks one step of training ahead. That is short-sighted where speed now is paid
    for later, as with the learning rate; use it for regularization.

    Args:
        step: Number > 0, the length of a step on the scale. Defaults to `0.05`.
        rule: `"adam"`, `"sign"` or `"normalized"`. Defaults to `"adam"`.
        smoothing: Number in [0, 1), the weight of the past in the average of the
            gradient. Defaults to `0.9`.
        square_smoothing: Number in [0, 1), that in the average of its square, for
            `"adam"`. Defaults to `0.99`.
        max_step: Number > 0, the largest change of one number at once.
            Defaults to `0.1`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras_ext as kx
        >>> controller = kx.controllers.Hypergradient(step=0.1, rule="sign")
        >>> [controller.update(gradient) for gradient in (0.003, 70.0, -9000.0)]
        [-0.1, -0.1, 0.1]

    References:
        - [Luketina et al., 2016](https://arxiv.org/abs/1511.06727)
        - [Wu et al., 2018](https://arxiv.org/abs/1803.02021), on the short sight
        - [Kingma & Ba, 2015](https://arxiv.org/abs/1412.6980)
    """

    def __init__(
        self,
        step: float = 0.05,
        *,
        rule: str = "adam",
        smoothing: float = 0.9,
        square_smoothing: float = 0.99,
        max_step: float = 0.1,
    ) -> None:
        self.step = number(step, "step", above=0)
        self.rule = choice(rule, "rule", _RULES)
        self.smoothing = number(smoothing, "smoothing", low=0, below=1)
        self.square_smoothing = number(
            square_smoothing, "square_smoothing", low=0, below=1
        )
        self.max_step = number(max_step, "max_step", above=0)
        self._mean: Any = 0.0
        self._mean_square: Any = 0.0
        self._updates = 0

    def update(self, gradient: np.ndarray | float) -> np.ndarray | float:
        """Takes in a gradient and returns the change of the hyperparameters.

        Args:
            gradient: A number, or an array of numbers, always of the same shape; if any
                is not finite, all is forgotten.

        Returns:
            A float, or an array of that shape, in [-max_step, max_step].
        """
        gradient = np.asarray(gradient, dtype="float64")
        if not np.isfinite(gradient).all():
            return _plain(np.zeros_like(gradient))
        self._updates += 1
        self._mean = _average(self._mean, gradient, self.smoothing)
        squares = _average(self._mean_square, gradient**2, self.square_smoothing)
        self._mean_square = squares
        change = -self.step * self._direction()
        return _plain(np.clip(change, -self.max_step, self.max_step))

    def _direction(self) -> np.ndarray:
        if self.rule == "sign":
            return np.sign(self._mean)
        if self.rule == "normalized":
            return self._mean / max(np.linalg.norm(self._mean), _TINY)
        mean = self._mean / (1 - self.smoothing**self._updates)
        square = self._mean_square / (1 - self.square_smoothing**self._updates)
        return mean / np.maximum(np.sqrt(square), _TINY)

    @staticmethod
    def penalty_gradient(
        validation_gradients: Sequence[np.ndarray],
        penalty_gradients: Sequence[np.ndarray],
        learning_rate: float,
        preconditioners: Sequence[np.ndarray] | None = None,
    ) -> float:
        """Returns the gradient of the validation loss for the strength of a penalty.

        A step of training takes `learning_rate * strength * P * penalty_gradient` off
        the weights, `P` being what the optimizer multiplies gradients with. So the
        derivative of the validation loss for the strength is
        `-learning_rate * <validation_gradient, P * penalty_gradient>`.

        Args:
            validation_gradients: The gradients of the validation loss with respect to
                the weights, after the step.
            penalty_gradients: The gradients of the penalty at strength 1, at the
                weights before the step: `2 * w` for `keras.regularizers.L2`, `sign(w)`
                for `L1`, and `w` for decoupled weight decay.
            learning_rate: The learning rate.
            preconditioners: `P` of each weight, as `1 / (sqrt(v) + epsilon)` of Adam.
                None means 1: SGD, and decoupled weight decay with any optimizer.

        Returns:
            The derivative, a float.
        """
        ones = [1.0] * len(validation_gradients)
        parts = zip(
            validation_gradients,
            penalty_gradients,
            ones if preconditioners is None else preconditioners,
            strict=True,
        )
        total = sum(
            float(np.sum(np.asarray(v, "float64") * (p * np.asarray(r, "float64"))))
            for v, r, p in parts
        )
        return -learning_rate * total


def _average(
    past: np.ndarray | float, present: np.ndarray | float, smoothing: float
) -> np.ndarray | float:
    return smoothing * past + (1 - smoothing) * present


def _plain(values: np.ndarray) -> np.ndarray | float:
    return values if np.ndim(values) else float(values)
