import math

import numpy as np
import pytest

from keras_ext.controllers.batch_size import InnerProductTest, Measured, NormTest

GRADIENT = np.array([1.0, 0.0, 0.0])
DEVIATIONS = np.array([2.0, 5.0, 5.0])


def measured(size, gradient=GRADIENT, deviations=DEVIATIONS):
    return Measured(
        size,
        8,
        signal=gradient @ gradient,
        noise=np.sum(deviations**2),
        projection=gradient @ gradient,
        projection_variance=gradient @ np.diag(deviations**2) @ gradient,
    )


@pytest.mark.parametrize("theta", [0.3, 0.9])
def test_wants_a_batch_whose_sampled_gradients_point_the_right_way(theta):
    size = round(InnerProductTest(theta, nu=None).wanted(measured(8)))
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(100_000, 3)) * DEVIATIONS / math.sqrt(size)
    products = (GRADIENT + noise) @ GRADIENT
    error = np.var(products) / np.mean(products) ** 2
    assert error == pytest.approx(theta**2, rel=0.12)


@pytest.mark.parametrize("nu", [0.5, 0.2])
def test_wants_a_batch_whose_sampled_gradients_stray_no_further_sideways(nu):
    # Where it is large, the norm that a batch measures is that of the true gradient.
    size = round(InnerProductTest(0.9, nu=nu).wanted(measured(1e9)))
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(100_000, 3)) * DEVIATIONS / math.sqrt(size)
    sideways = np.mean(np.sum(noise[:, 1:] ** 2, axis=1))
    assert sideways == pytest.approx(nu**2, rel=0.02)


def test_asks_less_than_the_norm_test():
    inner = InnerProductTest(0.9).wanted(measured(8))
    assert inner < NormTest(0.9).wanted(measured(8))


def test_noise_at_right_angles_counts_by_the_other_test():
    across = 50.0 - 0.0
    size = 1e9  # the norm is that of the true gradient
    assert InnerProductTest(0.9, nu=1.0).wanted(measured(size)) == pytest.approx(across)
    assert InnerProductTest(0.9, nu=5.84).wanted(measured(size)) == pytest.approx(
        4.0 / 0.81
    )


def test_the_default_is_an_angle_of_80_degrees():
    # The tangent of 80 degrees is 5.671; the paper has 5.84.
    assert math.degrees(math.atan(InnerProductTest().nu)) == pytest.approx(80, abs=0.5)


def test_measures_only_what_it_needs():
    assert InnerProductTest().needs == {"projection", "noise"}
    assert InnerProductTest(nu=None).needs == {"projection"}


def test_edges():
    unknown = Measured(16, 8)
    assert InnerProductTest(shrink=True).update(unknown) == 16
    noise_alone = Measured(16, 8, projection=0.0, projection_variance=1.0)
    assert InnerProductTest(nu=None).update(noise_alone) == 32
    nothing = Measured(16, 8, projection=0.0, projection_variance=0.0)
    assert InnerProductTest(nu=None, shrink=True).update(nothing) == 16
    # The one test is known and the other is not.
    half = Measured(16, 8, projection=1.0, projection_variance=100.0)
    assert InnerProductTest().update(half) == 32
