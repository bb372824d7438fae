import itertools

import numpy as np
import pytest

from keras_ext.controllers.batch_size import Measured
from keras_ext.controllers.batch_size._adascale_gain import adascale_gain


def gain(ratio, signal, noise, batch_size=1):
    measured = Measured(batch_size, batch_size, None, signal=signal, noise=noise)
    return adascale_gain(ratio, measured, batch_size)


@pytest.mark.parametrize("ratio", [1, 2, 3, 4])
def test_is_the_ratio_of_the_expected_squared_norms(ratio):
    """Over all batches of that many samples, with gradients of 0 or 2 each."""
    squares = [np.mean(b) ** 2 for b in itertools.product([0.0, 2.0], repeat=ratio)]
    one_sample = (0.0**2 + 2.0**2) / 2
    assert gain(ratio, signal=1.0, noise=1.0) == pytest.approx(
        one_sample / np.mean(squares)
    )


def test_a_gradient_without_noise_gains_nothing():
    assert gain(8, signal=1.0, noise=0.0) == pytest.approx(1.0, abs=1e-5)


def test_a_gradient_that_is_all_noise_gains_the_whole_ratio():
    assert gain(8, signal=0.0, noise=3.0, batch_size=32) == pytest.approx(8.0)
    # An estimate of the signal may be negative.
    assert gain(8, signal=-0.5, noise=3.0, batch_size=32) == pytest.approx(8.0)


def test_is_1_while_one_of_them_is_not_known():
    assert gain(8, signal=None, noise=3.0) == gain(8, signal=1.0, noise=None) == 1.0


def test_is_finite_when_both_vanish():
    assert 1.0 <= gain(8, signal=0.0, noise=0.0) <= 8.0 + 1e-9
