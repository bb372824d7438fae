import keras
import numpy as np
import pytest

from keras_ext._engine._distance_rule import DistanceRule


class Distance(DistanceRule):
    """Its rate is the distance from the first weights, and 1 at first."""

    def decide(self, rows, now, given):
        ways, gradients = rows
        self.seen = float(gradients[0])
        return keras.ops.where(ways > 0, keras.ops.sqrt(2 * ways), 1.0)


def test_distances_are_those_from_the_weights_it_was_built_with():
    weight = keras.Variable([3.0, 4.0], name="weight")
    rule = Distance(1.0, epsilon=1e-8, weight_decay=0.1)
    rule.build([weight])
    np.testing.assert_allclose(rule.slots_of(weight)["start"], [3, 4])
    weight.assign([3.0, 6.0])
    rule.apply([keras.ops.array([1.0, 1.0])], [weight])
    assert rule.seen == 1.0
    # At the rate 2.
    np.testing.assert_allclose(weight, np.array([3, 6]) * (1 - 0.2) - 2, rtol=1e-6)


def test_what_is_divided_by_is_not_zero():
    with pytest.raises(ValueError, match="`epsilon` must be a number > 0"):
        Distance(1.0, epsilon=0.0, weight_decay=None)
