import numpy as np
import pytest

from keras_ext.optimizers import AdaBound
from tests.optimizers.steps import steps_of


def test_with_bounds_that_are_far_apart_it_is_adam():
    steps = steps_of(AdaBound(0.01, gamma=1e-9), [2.0, -3.0, 1.0])
    np.testing.assert_allclose(steps[0], -0.01, rtol=1e-4)


def test_with_bounds_that_have_met_it_is_descent_with_an_average():
    arguments = {"final_learning_rate": 0.5, "gamma": 1e9, "beta_1": 0.0}
    gradients = [2.0, -3.0, 100.0]
    steps = steps_of(AdaBound(0.01, **arguments), gradients)
    np.testing.assert_allclose(steps, np.multiply(gradients, -0.5), rtol=1e-5)


@pytest.mark.parametrize("first", [0.01, 0.0])
def test_bounds_follow_the_rate_from_the_first_that_is_not_zero(first):
    optimizer = AdaBound(first, final_learning_rate=0.5, gamma=1e9, beta_1=0.0)
    before = steps_of(optimizer, [1.0])
    optimizer.learning_rate = 0.02
    bounds = float(optimizer.number_of("first_rate"))
    assert (before == [0.0]) == (first == 0.0)
    assert bounds == pytest.approx(first)
