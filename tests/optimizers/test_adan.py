import numpy as np

from keras_ext.optimizers import Adan
from tests.optimizers.steps import steps_of, weights_after


def test_of_gradients_that_stay_the_same_it_is_adam():
    steps = steps_of(Adan(0.01), [3.0] * 5)
    np.testing.assert_allclose(steps, -0.01, rtol=1e-4)


def test_it_looks_ahead_where_the_gradient_grows():
    # With an epsilon that nothing else counts beside.
    optimizer = Adan(1e6, beta_1=0.0, beta_2=0.5, epsilon=1e6)
    first, second = steps_of(optimizer, [1.0, 2.0])
    difference = 0.5 * (2 - 1) / (1 - 0.5**2)
    np.testing.assert_allclose(first, -1, rtol=1e-4)
    np.testing.assert_allclose(second, -(2 + 0.5 * difference), rtol=1e-4)


def test_decay_divides():
    (value,) = weights_after(Adan(0.5, weight_decay=2.0), 3.0, [0.0])
    np.testing.assert_allclose(value, 3.0 / (1 + 0.5 * 2.0))
