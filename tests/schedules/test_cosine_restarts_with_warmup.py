import keras
import numpy as np
import pytest

from keras_ext.schedules import CosineRestartsWithWarmup


def test_without_warm_up_it_is_that_of_keras_between_the_restarts():
    ours = CosineRestartsWithWarmup(0.5, 10, t_mul=2.0, m_mul=0.5, alpha=0.1)
    keras_own = keras.optimizers.schedules.CosineDecayRestarts(0.5, 10, 2.0, 0.5, 0.1)
    steps = np.array([0, 3, 9, 12, 29, 31, 50, 75, 200])
    expected = [float(keras_own(int(step))) for step in steps]
    np.testing.assert_allclose(ours(steps), expected, rtol=1e-4)


@pytest.mark.parametrize("t_mul", [1.0, 1.1, 1.5, 3.0])
def test_every_cycle_begins_at_the_top(t_mul):
    """Also where the formula with logarithms is off by one."""
    schedule = CosineRestartsWithWarmup(1.0, 10, t_mul=t_mul)
    begins = np.cumsum([0, *(round(10 * t_mul**i) for i in range(8))])
    np.testing.assert_allclose(schedule(begins), 1.0)
    assert (np.asarray(schedule(begins[1:] - 1)) < 0.1).all()


def test_the_warm_up_is_shorter_than_a_cycle():
    with pytest.raises(ValueError, match=r"`warmup_steps` must be below first_decay"):
        CosineRestartsWithWarmup(1.0, 10, warmup_steps=10)
