import numpy as np

from keras_ext.optimizers import ADOPT
from tests.optimizers.steps import steps_of


def test_the_first_gradient_is_for_the_second_moment_alone():
    first, second = steps_of(ADOPT(0.1, beta_1=0.0), [2.0, 1.0])
    assert first == 0
    np.testing.assert_allclose(second, -0.1 / 2, rtol=1e-5)


def test_quotients_are_clipped_to_the_fourth_root_of_the_updates():
    steps = steps_of(ADOPT(0.1, beta_1=0.0), [1.0, 1e6, 0.0, 1e9])
    np.testing.assert_allclose(steps[1], -0.1, rtol=1e-5)
    np.testing.assert_allclose(steps[3], -0.1 * 3**0.25, rtol=1e-5)
