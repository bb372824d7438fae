"""Moments of the noise, in closed form."""

import numpy as np
import pytest
from scipy import stats

from keras_ext.layers import UniformOut


def test_noise_is_uniform_around_one():
    y = np.asarray(UniformOut(0.3, seed=1)(np.ones((5000,), "float32"), training=True))
    # Rejected once in a thousand seeds, and this one is fixed.
    assert stats.kstest(y, stats.uniform(0.7, 0.6).cdf).pvalue > 1e-3


def test_variance_shifts_less_than_that_of_dropout():
    x = np.random.default_rng(0).normal(size=(100_000,)).astype("float32")
    y = np.asarray(UniformOut(0.3, seed=1)(x, training=True))
    # E[(1 + r)**2] = 1 + beta**2 / 3; dropout of this rate has 1 / 0.7.
    assert np.mean(y**2) / np.mean(x**2) == pytest.approx(1 + 0.3**2 / 3, rel=5e-3)


@pytest.mark.parametrize("beta", [-0.1, 1.5, "0.1"])
def test_rejects_bad_widths(beta):
    with pytest.raises(ValueError, match=r"`beta` must be a number in \[0, 1\]"):
        UniformOut(beta)
