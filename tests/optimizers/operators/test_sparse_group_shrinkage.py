import numpy as np
import pytest

from keras_ext.optimizers.operators import (
    GroupShrinkage,
    L1Shrinkage,
    SparseGroupShrinkage,
)
from tests.optimizers.operators.smallest import (
    KERNEL,
    STEPS,
    assert_is_smallest,
    assert_same_for_equal_steps,
)


@pytest.mark.parametrize("steps", [1.5, STEPS], ids=["one", "each"])
def test_makes_penalty_and_distance_smallest(steps):
    def penalty(x):
        return 0.6 * np.linalg.norm(x, axis=0).sum() + 0.2 * np.abs(x).sum()

    assert_is_smallest(SparseGroupShrinkage(0.5, l1_ratio=0.4), penalty, steps)


def test_between_groups_and_single_weights():
    assert_same_for_equal_steps(SparseGroupShrinkage(0.5))
    for ratio, other in ((0.0, GroupShrinkage(0.5)), (1.0, L1Shrinkage(0.5))):
        found = SparseGroupShrinkage(0.5, l1_ratio=ratio)(KERNEL, 1.5, (0,))
        np.testing.assert_allclose(found, other(KERNEL, 1.5, (0,)), atol=1e-6)
