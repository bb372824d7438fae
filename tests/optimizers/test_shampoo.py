import keras
import numpy as np
import pytest
import scipy.linalg

from keras_ext.optimizers import Shampoo
from tests.optimizers.steps import steps_of

RNG = np.random.default_rng(0)
GRADIENTS = RNG.normal(size=(4, 3, 2))


def roots(gradients, decay=1.0, share=1.0):
    """By SciPy, in float64."""
    left, right = 1e-6 * np.eye(3), 1e-6 * np.eye(2)
    for g in gradients:
        left = decay * left + share * g @ g.T
        right = decay * right + share * g.T @ g
    return [scipy.linalg.fractional_matrix_power(m, -0.25) for m in (left, right)]


def test_roots_are_computed_now_and_then():
    optimizer = Shampoo(0.1, momentum=0.0, update_every=3)
    steps = steps_of(optimizer, GRADIENTS, np.zeros((3, 2)))
    for t, seen in enumerate([1, 1, 1, 4]):
        left, right = roots(GRADIENTS[:seen])
        expected = -0.1 * left @ GRADIENTS[t] @ right
        np.testing.assert_allclose(steps[t], expected, rtol=2e-2, atol=2e-2)


def test_matrices_may_be_averages():
    optimizer = Shampoo(0.1, momentum=0.0, beta_2=0.5, update_every=1)
    steps = steps_of(optimizer, GRADIENTS, np.zeros((3, 2)))
    left, right = roots(GRADIENTS, decay=0.5, share=0.5)
    expected = -0.1 * left @ GRADIENTS[3] @ right
    np.testing.assert_allclose(steps[3], expected, rtol=1e-3, atol=1e-4)


def test_grafted_it_goes_as_far_as_descent():
    optimizer = Shampoo(0.1, momentum=0.0, graft="gradient")
    steps = steps_of(optimizer, GRADIENTS, np.zeros((3, 2)))
    for step, gradient in zip(steps, GRADIENTS, strict=True):
        lengths = [np.linalg.norm(x) for x in (step, 0.1 * gradient)]
        np.testing.assert_allclose(*lengths, rtol=1e-4)


def test_a_side_that_is_too_long_is_left_alone():
    weight = keras.Variable(np.zeros((3, 2), "float32"), name="kernel")
    optimizer = Shampoo(max_size=2)
    optimizer.build([weight])
    assert set(optimizer.slots_of(weight)) == {"momentum", "right", "right_root"}
    none = steps_of(Shampoo(0.1, momentum=0.0, max_size=1), GRADIENTS, np.zeros((3, 2)))
    np.testing.assert_allclose(none, -0.1 * GRADIENTS, rtol=1e-5)


def test_a_share_is_at_most_one():
    with pytest.raises(ValueError, match="`beta_2` must be a number in .0, 1.\\."):
        Shampoo(beta_2=1.5)
