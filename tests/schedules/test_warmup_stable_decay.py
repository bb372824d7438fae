import numpy as np
import pytest

from keras_ext.schedules import WarmupStableDecay


def test_decays_over_the_last_fifth_to_the_rate_it_is_given():
    schedule = WarmupStableDecay(1.0, 10, decay="linear", final_learning_rate=0.5)
    steps = np.array([0, 8, 9, 10, 99])
    np.testing.assert_allclose(schedule(steps), [1, 1, 0.75, 0.5, 0.5], rtol=1e-6)


def test_says_when_the_parts_do_not_fit():
    with pytest.raises(ValueError, match=r"`total_steps` must be at least the warm-up"):
        WarmupStableDecay(1.0, 10, warmup_steps=6, decay_steps=5)
