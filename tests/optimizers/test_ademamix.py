import keras
import numpy as np
import pytest

from keras_ext.optimizers import AdEMAMix
from tests.optimizers.steps import steps_of


def test_without_the_slow_average_it_is_adam():
    gradients = [3.0, -1.0, 2.0, 0.5]
    adam = steps_of(keras.optimizers.Adam(0.01, epsilon=1e-8), gradients)
    ours = steps_of(AdEMAMix(0.01, alpha=0.0), gradients)
    np.testing.assert_allclose(ours, adam, rtol=1e-3)


@pytest.mark.parametrize("way", [0.5, 1.0, 2.0])
def test_the_half_life_of_the_slow_average_grows_evenly(way):
    optimizer = AdEMAMix(beta_1=0.9, beta_3=0.999, alpha=4.0, warmup_steps=10)
    now = type("Now", (), {"step": keras.ops.cast(way * 10, "float64")})
    now.rate = keras.ops.cast(1.0, "float64")
    alpha, beta_3 = map(float, optimizer._warmed_up(now))
    share = min(way, 1.0)
    fast, slow = (np.log(0.5) / np.log(b) for b in (0.9, 0.999))
    assert alpha == pytest.approx(4 * share)
    half_life = np.log(0.5) / np.log(beta_3)
    assert half_life == pytest.approx((1 - share) * fast + share * slow, rel=1e-4)
