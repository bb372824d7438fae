import numpy as np
import pytest

from keras_ext.optimizers.operators import L1Shrinkage
from tests.optimizers.operators.smallest import (
    KERNEL,
    STEPS,
    assert_is_smallest,
    assert_same_for_equal_steps,
)


@pytest.mark.parametrize("steps", [1.5, STEPS], ids=["one", "each"])
def test_makes_penalty_and_distance_smallest(steps):
    assert_is_smallest(L1Shrinkage(0.3), lambda x: 0.3 * np.abs(x).sum(), steps)


def test_equal_steps_and_no_strength():
    assert_same_for_equal_steps(L1Shrinkage(0.3))
    np.testing.assert_array_equal(L1Shrinkage(0.0)(KERNEL, 1.5, (0,)), KERNEL)


def test_its_strength_is_live():
    shrink = L1Shrinkage(0.3)
    shrink.strength = 100.0
    assert not np.any(shrink(KERNEL, 1.5, (0,)))
    assert shrink.get_config() == {"strength": 100.0}
