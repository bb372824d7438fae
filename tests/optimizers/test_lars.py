import numpy as np
import pytest

from keras_ext.optimizers import LARS
from tests.optimizers.steps import steps_of

START = np.array([[3.0], [4.0]])


def test_a_weight_moves_by_a_share_of_its_length():
    (step,) = steps_of(LARS(1.0, trust_coefficient=0.1), [[[60.0], [80.0]]], START)
    np.testing.assert_allclose(step, [[-0.3], [-0.4]], rtol=1e-5)


@pytest.mark.parametrize(
    ("start", "name"),
    [(START, "bias"), (0 * START, "kernel")],
    ids=["excluded", "zero"],
)
def test_others_move_as_with_descent(start, name):
    optimizer = LARS(0.5, exclude="bias", weight_decay=0.3)
    (step,) = steps_of(optimizer, [[[6.0], [8.0]]], start, name)
    np.testing.assert_allclose(step, [[-3.0], [-4.0]], rtol=1e-5)


@pytest.mark.parametrize(
    ("denominator", "divisor"), [("paper", 10 + 0.5 * 5), ("decayed", 10 - 0.5 * 5)]
)
def test_decay_is_in_the_denominator_in_one_of_two_ways(denominator, divisor):
    """Here it points against the gradient."""
    optimizer = LARS(
        1.0, trust_coefficient=1.0, denominator=denominator, weight_decay=0.5
    )
    (step,) = steps_of(optimizer, [[[-6.0], [-8.0]]], START)
    np.testing.assert_allclose(step, START / 5 * 7.5 * 5 / divisor, rtol=1e-5)


def test_nesterov_looks_ahead_by_the_momentum():
    plain, ahead = (
        steps_of(LARS(0.1, momentum=0.5, nesterov=n), [[[6.0], [8.0]]], 0 * START)
        for n in (False, True)
    )
    np.testing.assert_allclose(ahead[0], 1.5 * plain[0], rtol=1e-5)
