import numpy as np

from keras_ext.optimizers import Yogi
from tests.optimizers.steps import steps_of


def test_after_a_large_gradient_the_rate_rises_slowly():
    """The second moment falls by the square of the small one, not by its own share."""
    gradients = [10.0] + [0.01] * 20
    arguments = {"beta_1": 0.0, "beta_2": 0.9}
    optimizer = Yogi(0.1, **arguments)
    steps_of(optimizer, gradients)
    (velocity,) = [v for v in optimizer.variables if "velocity" in v.name]
    np.testing.assert_allclose(float(velocity), 0.1 * 100, rtol=1e-3)


def test_what_it_begins_with_slows_the_first_steps():
    fast, slow = (
        steps_of(Yogi(0.1, initial_accumulator_value=v), [1e-3])[0] for v in (0.0, 1.0)
    )
    assert abs(fast) > 10 * abs(slow)
