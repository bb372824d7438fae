"""Whole examples, and the arithmetic of stochastic depth."""

import numpy as np
import pytest

from keras_ext.layers import DropPath


def test_drops_whole_examples():
    x = np.random.default_rng(0).normal(size=(4000, 2, 3)).astype("float32")
    y = np.asarray(DropPath(0.25, seed=1)(x, training=True))
    kept = np.any(y != 0, axis=(1, 2))
    np.testing.assert_allclose(y[kept], x[kept] / 0.75, rtol=1e-6)
    assert not np.any(y[~kept])
    # A standard error of 0.007.
    assert kept.mean() == pytest.approx(0.75, abs=0.03)


def test_rates_of_the_paper():
    rates = DropPath.linear_rates(0.5, 54)
    assert rates[-1] == 0.5
    np.testing.assert_allclose(np.diff(rates, prepend=0), 0.5 / 54)
    # Of the 54 blocks of their network, (3 * 54 - 1) / 4 are left on the average.
    assert sum(1 - rate for rate in rates) == pytest.approx(40.25)
    assert DropPath.linear_rates(0.0, 2) == [0, 0]


@pytest.mark.parametrize(
    ("last", "depth", "message"),
    [
        (1.0, 3, r"`last` must be a number in \[0, 0\.95\]\. Received: last=1\.0\."),
        (0.5, 0, "`depth` must be an integer >= 1"),
    ],
)
def test_rejects_bad_depths(last, depth, message):
    with pytest.raises(ValueError, match=message):
        DropPath.linear_rates(last, depth)


def test_rejects_bad_rates():
    with pytest.raises(ValueError, match="`rate` must be a number in"):
        DropPath(-0.1)
