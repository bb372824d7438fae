import re

import keras
import pytest

from keras_ext._engine._distance_estimate import DistanceEstimate
from keras_ext.optimizers import DAdaptAdam, Prodigy

both = pytest.mark.parametrize("kind", [DAdaptAdam, Prodigy])


@both
def test_begins_with_the_given_distance_which_never_falls(kind):
    optimizer = kind(initial_distance=0.25)
    assert isinstance(optimizer, DistanceEstimate)
    weight = keras.Variable([1.0, -2.0], name="weight")
    optimizer.build([weight])
    seen = [float(optimizer.distance)]
    assert seen == [0.25]
    for _ in range(5):  # the gradient of a bowl
        optimizer.apply([weight + 0.0], [weight])
        seen.append(float(optimizer.distance))
    assert seen == sorted(seen)


@both
def test_the_distance_is_positive_and_there_when_built(kind):
    message = re.escape("`initial_distance` must be a number > 0")
    with pytest.raises(ValueError, match=message):
        kind(initial_distance=0.0)
    with pytest.raises(ValueError, match="`distance`"):
        _ = kind().distance
