import keras
import numpy as np
import pytest

from keras_ext.schedules import Warmup


def test_runs_beside_what_it_warms_up_or_before_it():
    decay = keras.optimizers.schedules.InverseTimeDecay(1.0, 1, 1.0)  # 1 / (1 + step)
    steps = np.arange(6)
    beside = np.minimum(steps / 4, 1) / (1 + steps)
    np.testing.assert_allclose(Warmup(decay, 4)(steps), beside, rtol=1e-6)
    before = np.minimum(steps / 4, 1) / (1 + np.maximum(steps - 4, 0))
    np.testing.assert_allclose(Warmup(decay, 4, shift=True)(steps), before, rtol=1e-6)


def test_exponential_multiplies_by_the_same_each_time():
    rates = Warmup(2.0, 2, start=0.25, mode="exponential")(np.arange(4))
    np.testing.assert_allclose(rates, [0.5, 1.0, 2.0, 2.0], rtol=1e-6)


def test_untuned_has_the_length_for_adam():
    """Ma and Yarats, 2019: the factor min(1, step * (1 - beta_2) / 2)."""
    steps = np.array([0, 500, 1000, 2000, 5000])
    expected = np.minimum(1, steps * (1 - 0.999) / 2)
    np.testing.assert_allclose(Warmup.untuned(1.0)(steps), expected, rtol=1e-5)
    assert Warmup.untuned(1.0, beta_2=0.0).steps == 2


def test_says_why_exponential_needs_a_start():
    with pytest.raises(ValueError, match=r"`start` must be above 0.*linear"):
        Warmup(1.0, 5, mode="exponential")
    with pytest.raises(ValueError, match=r"`inner` must be a number >= 0 or a sched"):
        Warmup(None, 5)
