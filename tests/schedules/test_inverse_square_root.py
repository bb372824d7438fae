import numpy as np
import pytest

from keras_ext.schedules import InverseSquareRoot


def test_falls_as_slowly_as_it_is_told():
    """Without a warm-up, to a half after three times the scale."""
    schedule = InverseSquareRoot(1.0, 0, timescale=100)
    np.testing.assert_allclose(schedule(np.array([0, 300, 9900])), [1, 0.5, 0.1])


def test_needs_a_scale():
    with pytest.raises(
        ValueError, match=r"`warmup_steps` must be an integer >= 1 without a timescale"
    ):
        InverseSquareRoot(1.0, 0)
