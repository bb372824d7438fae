"""A Gaussian process, for few values with noise."""

import math

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize
from scipy.special import erfcx, ndtr

# The prior of the logarithms of lengths, in units of the cube: their level, how far it
# is from case to case, and how far single lengths are from it. Lengths that have a
# level in common need fewer values than lengths on their own.
_LEVEL, _LEVEL_SCALE, _LENGTH_SCALE = -0.3, 1.0, 0.5
# That of the logarithm of the variance of the noise, relative to that of the values.
_NOISE, _NOISE_SCALE = -6.0, 2.5
_LENGTHS, _NOISES = (-3.0, 5.0), (-12.0, 0.0)
_JITTER = 1e-6


class GaussianProcess:
    """Matérn 5/2 with a length for each group of columns, and noise.

    Lengths and noise are the most probable ones, given priors; the variance is that of
    the greatest likelihood. Values should have a mean near 0.

    Args:
        groups: Integers from 0 on, of each column of the inputs its group.
        parameters: Logarithms of the lengths and of the noise to begin with, or None.

    References:
        - [Rasmussen and Williams, 2006](https://gaussianprocess.org/gpml/)
    """

    def __init__(
        self, groups: np.ndarray, parameters: np.ndarray | None = None
    ) -> None:
        self.groups = groups
        self.count = int(groups.max()) + 1
        self.parameters = self._first() if parameters is None else parameters

    def _first(self) -> np.ndarray:
        return np.append(np.full(self.count, _LEVEL), _NOISE)

    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        """Looks for parameters, from those that it has and from the usual ones."""
        squares = np.zeros((self.count, len(x), len(x)))
        for column, group in zip(x.T, self.groups, strict=True):
            squares[group] += (column[:, None] - column) ** 2
        bounds = [_LENGTHS] * self.count + [_NOISES]
        found = [
            minimize(
                self._loss,
                start,
                (squares, y),
                "L-BFGS-B",
                jac=True,
                bounds=bounds,
                options={"maxiter": 30},
            )
            for start in (self.parameters, self._first())
        ]
        self.parameters = min(found, key=lambda result: result.fun).x

    def _loss(
        self, parameters: np.ndarray, squares: np.ndarray, y: np.ndarray
    ) -> tuple[float, np.ndarray]:
        """The negative logarithm of the posterior, and its gradient."""
        scales = np.exp(-2 * parameters[:-1])
        noise = math.exp(parameters[-1])
        kernel, slope = _matern(np.tensordot(scales, squares, 1))
        kernel[np.diag_indices(len(y))] += noise + _JITTER
        factor = cho_factor(kernel, lower=True)
        weights = cho_solve(factor, y)
        variance = max(y @ weights / len(y), _JITTER)  # all may be the same
        value = 0.5 * len(y) * math.log(variance)
        value += np.log(np.diag(factor[0])).sum()
        inner = cho_solve(factor, np.eye(len(y)))
        inner = 0.5 * (inner - np.outer(weights, weights) / variance)
        lengths = -2 * scales * np.tensordot(squares, inner * slope, ([1, 2], [0, 1]))
        gradient: np.ndarray = np.append(lengths, np.trace(inner) * noise)
        prior, prior_gradient = self._prior(parameters)
        return value + prior, gradient + prior_gradient

    def _prior(self, parameters: np.ndarray) -> tuple[float, np.ndarray]:
        apart = parameters[:-1] - _LEVEL
        precision, level = _LENGTH_SCALE**-2, _LEVEL_SCALE**2
        # The inverse of a covariance of `level` between lengths, and more on its own.
        shared = level / (_LENGTH_SCALE**2 + self.count * level)
        lengths = precision * (apart - shared * apart.sum())
        noise = (parameters[-1] - _NOISE) / _NOISE_SCALE
        value = 0.5 * (apart @ lengths + noise**2)
        return value, np.append(lengths, noise / _NOISE_SCALE)

    def condition(self, x: np.ndarray, y: np.ndarray) -> None:
        """Takes the values to predict from."""
        self._scales = np.exp(-self.parameters[:-1])[self.groups]
        self._inputs = x * self._scales
        kernel, _ = _matern(_squared(self._inputs, self._inputs))
        kernel[np.diag_indices(len(y))] += math.exp(self.parameters[-1]) + _JITTER
        self._factor = cho_factor(kernel, lower=True)
        self._weights = cho_solve(self._factor, y)
        self._variance = max(float(y @ self._weights) / len(y), _JITTER)

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The means, and the standard deviations without noise."""
        kernel, _ = _matern(_squared(x * self._scales, self._inputs))
        known = solve_triangular(self._factor[0], kernel.T, lower=True)
        variance = self._variance * (1 - (known**2).sum(axis=0))
        return kernel @ self._weights, np.sqrt(np.maximum(variance, 1e-12))


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances between rows."""
    found = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.maximum(found, 0)


def _matern(squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The correlation at squared distances, and its derivative by these."""
    r = np.sqrt(5 * squares)
    decay = np.exp(-r)
    return (1 + r + r**2 / 3) * decay, -5 / 6 * (1 + r) * decay


def log_expected_improvement(
    mean: np.ndarray, deviation: np.ndarray, best: float
) -> np.ndarray:
    """The logarithm of how much less than the best a value is expected to be."""
    z = (best - mean) / deviation
    density = -0.5 * z**2 - 0.5 * math.log(2 * math.pi)
    # Below, the difference of density and probability has no digits left.
    below = 1 + z * math.sqrt(math.pi / 2) * erfcx(np.maximum(-z, 0) / math.sqrt(2))
    far = density + np.log(np.maximum(below, 1e-15))
    near = np.log(np.maximum(np.exp(density) + z * ndtr(z), 1e-300))
    return np.where(z > -1, near, far) + np.log(deviation)
