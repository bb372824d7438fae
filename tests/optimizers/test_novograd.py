import numpy as np

from keras_ext.optimizers import NovoGrad
from tests.optimizers.steps import steps_of


def test_the_first_step_has_the_length_of_the_rate():
    (step,) = steps_of(NovoGrad(0.1), [[[30.0], [40.0]]], np.ones((2, 1)))
    np.testing.assert_allclose(step, [[-0.06], [-0.08]], rtol=1e-5)


def test_the_average_begins_with_the_first_gradient_that_is_not_zero():
    arguments = {"beta_1": 0.0, "beta_2": 0.5}
    _, second, third = steps_of(NovoGrad(0.1, **arguments), [0.0, 4.0, 2.0])
    np.testing.assert_allclose(second, -0.1, rtol=1e-5)
    np.testing.assert_allclose(third, -0.1 * 2 / 10**0.5, rtol=1e-5)


def test_decay_has_momentum_too():
    optimizer = NovoGrad(0.1, beta_1=0.5, weight_decay=0.2)
    first, second = steps_of(optimizer, [0.0, 0.0], 3.0)
    np.testing.assert_allclose(first, -0.1 * 0.2 * 3, rtol=1e-5)
    np.testing.assert_allclose(second, -0.1 * (0.5 * 0.6 + 0.2 * 2.94), rtol=1e-5)
