import numpy as np
import pytest

from keras_ext._core import _timing


def test_first_calls_are_left_out_and_quartiles_are_those_of_numpy(monkeypatch):
    taken = [9.0, 9.0, 9.0, 0.1, 0.4, 0.2, 0.8, 0.3, 0.5]  # seconds
    clock = iter(np.repeat(np.cumsum([0.0, *taken]), 2)[1:-1])
    monkeypatch.setattr(_timing.time, "perf_counter", lambda: next(clock))
    found = _timing.milliseconds(lambda: None, repeats=6)
    first, middle, third = np.percentile(1000 * np.array(taken[3:]), [25, 50, 75])
    assert found == pytest.approx((middle, (third - first) / 2))
