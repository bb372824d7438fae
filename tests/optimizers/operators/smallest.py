"""The kernel that operators are tried on, and what a proximal operator promises."""

import numpy as np
import tensorflow as tf

from tests.optimizers.wrappers.followed import FIXTURE

KERNEL = 2.0 * FIXTURE["kernel/weight"]
STEPS = FIXTURE["operators/steps"]


def assert_is_smallest(operator, penalty, steps=1.5):
    """What it returns makes penalty and distance smallest.

    In all directions that are tried, near and far: the sum is convex.

    Args:
        operator: The operator.
        penalty: What it is the operator of, in NumPy.
        steps: By what the penalty is multiplied; or a number for each element, which
            its distance is divided by.
    """
    steps = np.float32(steps)
    found = np.float64(operator(tf.constant(KERNEL), tf.constant(steps), (0,)))

    def objective(x):
        return penalty(x) + ((x - KERNEL) ** 2 / (2 * steps)).sum()

    rng, least = np.random.default_rng(0), objective(found)
    for size in (1e-2, 0.1, 1.0):
        for direction in rng.normal(size=(50, *KERNEL.shape)):
            assert objective(found + size * direction) > least
            # What is zero stays so.
            assert objective(found * (1 + size * direction)) >= least - 1e-6


def assert_same_for_equal_steps(operator):
    """One step for each element, all of them alike, is one for all."""
    kernel = tf.constant(KERNEL)
    alike = operator(kernel, tf.fill(KERNEL.shape, 1.5), (0,))
    np.testing.assert_allclose(alike, operator(kernel, 1.5, (0,)), atol=1e-6)
