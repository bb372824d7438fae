import numpy as np
import pytest
import tensorflow as tf

from keras_ext.optimizers.operators import SimplexProjection
from tests.optimizers.operators.smallest import KERNEL
from tests.optimizers.wrappers.followed import FIXTURE


def test_that_of_optax():
    found = SimplexProjection(1.5)(tf.constant(KERNEL), 1.0, (0,))
    np.testing.assert_allclose(found, FIXTURE["operators/simplex"], atol=1e-6)


@pytest.mark.parametrize("axes", [(0, 1), (0,), (1,)])
def test_along_any_axes(axes):
    weight = np.float32(np.random.default_rng(0).normal(size=(2, 3, 4)))
    found = np.array(SimplexProjection(2.0)(tf.constant(weight), 1.0, axes))
    np.testing.assert_allclose(found.sum(axis=axes), 2.0, rtol=1e-5)
    # All elements of a group that are left were moved by the same amount.
    moved = np.where(found > 0, weight - found, np.nan)
    spread = np.nanmax(moved, axis=axes) - np.nanmin(moved, axis=axes)
    np.testing.assert_allclose(spread, 0.0, atol=1e-6)
