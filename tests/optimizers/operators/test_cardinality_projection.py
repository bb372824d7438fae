import numpy as np
import pytest
import tensorflow as tf

from keras_ext.optimizers.operators import CardinalityProjection
from tests.optimizers.operators.smallest import KERNEL


@pytest.mark.parametrize(
    ("share", "count"), [(0.5, 2), (0.26, 2), (0.25, 1), (1.0, 4), (0.01, 1)]
)
def test_keeps_exactly_as_many_also_of_equal_ones(share, count):
    ties = tf.constant([[1.0, -1.0], [1.0, 0.5]])
    kept = np.array(CardinalityProjection(share)(ties, 1.0, (0,)))
    assert np.count_nonzero(kept) == count
    assert np.all((kept == ties) | (kept == 0))


def test_keeps_the_largest():
    kept = np.array(CardinalityProjection(0.25)(tf.constant(KERNEL), 1.0, (0,)))
    left_out = np.abs(KERNEL[kept == 0])
    assert np.abs(kept[kept != 0]).min() > left_out.max()


def test_shares_are_decimal_numbers():
    """0.07 of 100 are 7, although the product of the two is a little more."""
    weight = tf.random.normal((100,))
    kept = CardinalityProjection(0.07)(weight, 1.0, ())
    assert np.count_nonzero(kept) == 7
