import keras
import numpy as np

from keras_ext.optimizers import SGDW
from tests.optimizers.steps import weights_after


def test_decay_does_not_depend_on_the_rate_but_on_its_schedule():
    for rate in (0.1, 0.001):
        (value,) = weights_after(SGDW(rate, weight_decay=0.25), 4.0, [0.0])
        assert value == 3.0
    steps = keras.optimizers.schedules.PiecewiseConstantDecay
    # Twice as large in the second update, and half in the third.
    schedule = steps([0, 1], [0.1, 0.2, 0.1])
    values = weights_after(SGDW(schedule, weight_decay=0.5), 4.0, [0.0] * 3)
    np.testing.assert_allclose(values, [2.0, 1.0, 0.75])


def test_descent_has_momentum():
    gradients = [1.0, 1.0]
    plain = weights_after(SGDW(0.1, weight_decay=None, momentum=0.5), 0.0, gradients)
    np.testing.assert_allclose(plain, [-0.1, -0.25], rtol=1e-5)
    ahead = SGDW(0.1, weight_decay=None, momentum=0.5, nesterov=True)
    np.testing.assert_allclose(
        weights_after(ahead, 0.0, gradients), [-0.15, -0.325], rtol=1e-5
    )
