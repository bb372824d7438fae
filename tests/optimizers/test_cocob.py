import numpy as np

from keras_ext.optimizers import COCOB
from tests.optimizers.steps import weights_after


def test_it_does_not_depend_on_the_scale_of_gradients():
    gradients = np.random.default_rng(0).normal(size=8)
    small, large = (
        weights_after(COCOB(), 1.0, gradients * scale) for scale in (1e-2, 1e3)
    )
    np.testing.assert_allclose(small, large, rtol=1e-4)


def test_careful_bets_are_small():
    (value,) = weights_after(COCOB(alpha=20.0), 0.0, [3.0])
    np.testing.assert_allclose(value, -1 / 20, rtol=1e-5)


def test_part_of_the_way_to_a_bet():
    (value,) = weights_after(COCOB(0.5, alpha=20.0), 0.0, [3.0])
    np.testing.assert_allclose(value, -0.5 / 20, rtol=1e-5)
