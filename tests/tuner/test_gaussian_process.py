"""The process, against scikit-learn and the integrals that it stands for."""

import math

import numpy as np
from scipy.integrate import quad
from scipy.optimize import check_grad
from scipy.stats import multivariate_normal, norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from keras_ext.tuner._gaussian_process import (
    _JITTER,
    GaussianProcess,
    log_expected_improvement,
)

GROUPS = np.array([0, 1, 1, 2])


def values(count=30):
    random = np.random.default_rng(0)
    x = random.random((count, 4))
    y = np.sin(4 * x[:, 0]) + x[:, 1] * x[:, 2] + 0.05 * random.normal(size=count)
    return x, y - y.mean()


def of_sklearn(process, x, y):
    """The same process, with the lengths that it has found."""
    lengths = np.exp(process.parameters[:-1])[GROUPS]
    noise = math.exp(process.parameters[-1]) + _JITTER
    kernel = ConstantKernel(process._variance) * Matern(lengths, nu=2.5)
    return GaussianProcessRegressor(
        kernel, alpha=noise * process._variance, optimizer=None
    ).fit(x, y)


def test_predictions_are_those_of_scikit_learn():
    x, y = values()
    process = GaussianProcess(GROUPS)
    process.fit(x, y)
    process.condition(x, y)
    new = np.random.default_rng(1).random((50, 4))
    mean, deviation = process.predict(new)
    expected = of_sklearn(process, x, y).predict(new, return_std=True)
    np.testing.assert_allclose(mean, expected[0], atol=1e-7)
    np.testing.assert_allclose(deviation, expected[1], rtol=1e-4)


def test_the_fit_climbs_the_posterior_along_its_gradient():
    x, y = values()
    process = GaussianProcess(GROUPS)
    squares = np.zeros((3, 30, 30))
    for column, group in zip(x.T, GROUPS, strict=True):
        squares[group] += np.subtract.outer(column, column) ** 2
    random = np.random.default_rng(2)
    posteriors = []
    for _ in range(4):
        at = process._first() + random.normal(size=4)
        error = check_grad(
            lambda p: process._loss(p, squares, y)[0],
            lambda p: process._loss(p, squares, y)[1],
            at,
        )
        assert error < 1e-4
        process.parameters = at
        process.condition(x, y)
        likelihood = of_sklearn(process, x, y).log_marginal_likelihood_value_
        # Levels have a deviation of 1, and lengths one of 0.5 around these.
        covariance = np.full((3, 3), 1.0) + 0.25 * np.eye(3)
        prior = multivariate_normal([-0.3] * 3, covariance).logpdf(at[:3])
        prior += norm(-6, 2.5).logpdf(at[3])
        posteriors.append(likelihood + prior + process._loss(at, squares, y)[0])
    np.testing.assert_allclose(posteriors, posteriors[0], atol=1e-6)
    process.fit(x, y)
    fitted = process._loss(process.parameters, squares, y)[0]
    assert fitted < process._loss(process._first(), squares, y)[0]
    # What makes no difference has the greatest length.
    assert process.parameters[:3].argmax() == 2


def test_equal_values_are_no_error():
    process = GaussianProcess(np.array([0]))
    x = np.linspace(0, 1, 5)[:, None]
    process.fit(x, np.zeros(5))
    process.condition(x, np.zeros(5))
    mean, deviation = process.predict(x)
    np.testing.assert_allclose(mean, 0, atol=1e-9)
    assert np.isfinite(deviation).all()


def test_the_expected_improvement_is_its_integral_however_small():
    for z in (-5.0, -1.5, -0.5, 0.0, 2.0, 30.0):
        gain, _ = quad(lambda t, z=z: (z - t) * norm.pdf(t), -40, z, epsabs=0)
        found = log_expected_improvement(np.array([1.0]), np.array([2.0]), 1 + 2 * z)
        np.testing.assert_allclose(found, math.log(2 * gain), rtol=1e-6)
    # The series of the Mills ratio, where no digit is left of the integral.
    z = -50.0
    series = norm.logpdf(z) - 2 * math.log(-z) + math.log1p(-3 / z**2 + 15 / z**4)
    found = log_expected_improvement(np.array([0.0]), np.array([1.0]), z)
    np.testing.assert_allclose(found, series, atol=1e-5)
    far = log_expected_improvement(np.array([0.0]), np.array([1.0]), -1e6)
    assert np.isfinite(far)
