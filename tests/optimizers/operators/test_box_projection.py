import numpy as np
import pytest

from keras_ext.optimizers.operators import BoxProjection
from tests.optimizers.operators.smallest import KERNEL
from tests.optimizers.wrappers.followed import FIXTURE


def test_that_of_optax():
    found = BoxProjection(-0.5, 1.0)(KERNEL, 1.0, (0,))
    np.testing.assert_array_equal(found, FIXTURE["operators/box"])


def test_one_side_may_be_open():
    above = np.array(BoxProjection(low=0.0)(KERNEL, 1.0, (0,)))
    np.testing.assert_array_equal(above, np.maximum(KERNEL, 0.0))
    below = np.array(BoxProjection(high=0.0)(KERNEL, 1.0, (0,)))
    np.testing.assert_array_equal(above + below, KERNEL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, None), "`low` must be a number if `high` is None"),
        ((1.0, 0.5), "`low` must be at most `high`, which is 0.5"),
    ],
)
def test_a_box_has_a_side_and_room(arguments, message):
    with pytest.raises(ValueError, match=message):
        BoxProjection(*arguments)
