import numpy as np

from keras_ext.optimizers import DoWG
from tests.optimizers.steps import steps_of


def test_later_gradients_from_further_away_count_more():
    optimizer = DoWG(initial_squared_distance=0.25, epsilon=1e-8)
    first, second = steps_of(optimizer, [3.0, 4.0])
    np.testing.assert_allclose(first, -0.5, rtol=1e-5)
    np.testing.assert_allclose(second, -0.25 / (0.5 * 5) * 4, rtol=1e-5)
