import math
import re

import numpy as np
import pytest

from keras_ext.controllers.batch_size import Measured, NoiseScale

GRADIENT = np.array([0.3, -0.2, 0.5])
COVARIANCE = np.diag([4.0, 1.0, 3.0])


def measured(size=8, gradient=GRADIENT, covariance=COVARIANCE, initial=8):
    return Measured(
        size, initial, signal=gradient @ gradient, noise=np.trace(covariance)
    )


def test_at_the_wanted_size_a_step_does_half_of_what_it_could():
    """The best step on |w|**2 / 2, found by trying, as the paper defines the scale."""

    def best_decrease(size):
        rates = np.linspace(0.0, 1.0, 10_001)
        noise = np.trace(COVARIANCE) / size
        signal = GRADIENT @ GRADIENT
        return np.max(rates * signal - rates**2 / 2 * (signal + noise))

    wanted = NoiseScale().wanted(measured())
    assert best_decrease(wanted) == pytest.approx(best_decrease(1e12) / 2, rel=1e-4)


def test_doubles_while_the_noise_scale_is_twice_the_batch():
    size, sizes = 8, []
    for _ in range(4):
        size = NoiseScale().update(measured(size))
        sizes.append(size)
    scale = np.trace(COVARIANCE) / (GRADIENT @ GRADIENT)
    assert scale == pytest.approx(21.05, abs=0.01)
    assert sizes == [16, 16, 16, 16]


@pytest.mark.parametrize(("fraction", "expected"), [(0.7, 8), (0.8, 16), (4.0, 16)])
def test_aims_at_a_fraction_of_the_noise_scale(fraction, expected):
    assert NoiseScale(fraction).update(measured()) == expected


def test_shrinks_if_asked_to():
    assert NoiseScale().update(measured(64)) == 64
    assert NoiseScale(shrink=True).update(measured(64)) == 32
    assert NoiseScale(shrink=True).update(measured(32)) == 32


def test_keeps_the_size_while_the_noise_scale_is_unknown():
    assert NoiseScale(shrink=True).update(Measured(8, 8)) == 8
    hidden = Measured(8, 8, signal=-0.1, noise=10.0)
    assert math.isnan(NoiseScale().wanted(hidden))
    assert NoiseScale(shrink=True).update(hidden) == 8


def test_rejects_bad_arguments():
    message = "`fraction` must be a number > 0. Received: fraction=0."
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        NoiseScale(fraction=0)
