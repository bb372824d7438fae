import numpy as np
import pytest
import tensorflow as tf

from keras_ext.optimizers.operators import GroupShrinkage
from tests.optimizers.operators.smallest import (
    KERNEL,
    STEPS,
    assert_is_smallest,
    assert_same_for_equal_steps,
)
from tests.optimizers.wrappers.followed import FIXTURE
from tests.thorough import LONG

# Half of the root of the size of a group, and the axes of its norm.
OF_GROUPS = {"unit": (1.0, 0), "input": (0.5 * 3**0.5, 1), "tensor": (3**0.5, None)}


@pytest.mark.parametrize("per", OF_GROUPS)
@pytest.mark.parametrize("steps", [1.5, STEPS], ids=["one", "each"])
def test_makes_penalty_and_distance_smallest(per, steps):
    factor, axis = OF_GROUPS[per]

    def penalty(x):
        return factor * np.sum(np.sqrt(np.sum(x**2, axis=axis)))

    assert_is_smallest(GroupShrinkage(0.5, per=per), penalty, steps)


@pytest.mark.thorough(LONG)
def test_a_weighed_group_is_what_a_general_minimizer_finds():
    shrink = GroupShrinkage(0.45)  # times the root of 4
    compiled = tf.function(shrink, jit_compile=True)
    found = compiled(tf.constant(KERNEL), tf.constant(STEPS), (0,))
    np.testing.assert_allclose(found, FIXTURE["operators/weighed_group"], atol=1e-5)
    assert_same_for_equal_steps(shrink)


@pytest.mark.parametrize("steps", [3.0, tf.fill((4, 3), 3.0)], ids=["one", "each"])
@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_groups_of_zeros_stay_so(strength, steps):
    zeros = tf.zeros((4, 3))
    found = GroupShrinkage(strength)(zeros, steps, (0,))
    np.testing.assert_array_equal(found, zeros)
