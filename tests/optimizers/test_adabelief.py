import numpy as np

from keras_ext.optimizers import AdaBelief
from tests.optimizers.steps import steps_of


def test_it_is_bold_where_gradients_are_as_expected():
    steady = steps_of(AdaBelief(0.01), [1.0] * 10)
    turning = steps_of(AdaBelief(0.01), [1.0, -1.0] * 5)
    assert abs(steady[-1]) > 0.015 > 5 * abs(turning[-1])


def test_the_first_step_is_over_the_part_that_the_average_does_not_foresee():
    """That is beta_1 times the gradient."""
    (step,) = steps_of(AdaBelief(0.01, beta_1=0.8), [7.0])
    np.testing.assert_allclose(step, -0.01 / 0.8, rtol=1e-5)
