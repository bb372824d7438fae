import numpy as np
import pytest

from keras_ext.optimizers.operators import ElasticNetShrinkage, L1Shrinkage
from tests.optimizers.operators.smallest import (
    KERNEL,
    STEPS,
    assert_is_smallest,
    assert_same_for_equal_steps,
)

SHRINK = ElasticNetShrinkage(0.6, l1_ratio=0.3)


@pytest.mark.parametrize("steps", [1.5, STEPS], ids=["one", "each"])
def test_makes_penalty_and_distance_smallest(steps):
    def penalty(x):
        return 0.18 * np.abs(x).sum() + 0.21 * (x**2).sum()

    assert_is_smallest(SHRINK, penalty, steps)


def test_equal_steps_and_all_l1():
    assert_same_for_equal_steps(SHRINK)
    all_l1 = ElasticNetShrinkage(0.3, l1_ratio=1.0)(KERNEL, 1.5, (0,))
    np.testing.assert_array_equal(all_l1, L1Shrinkage(0.3)(KERNEL, 1.5, (0,)))
