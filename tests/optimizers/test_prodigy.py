import keras
import pytest

from keras_ext.optimizers import Prodigy


def test_the_distance_grows_to_that_of_the_solution():
    weight = keras.Variable([4.0, -4.0], name="weight")
    optimizer = Prodigy(initial_distance=1e-2)
    optimizer.build([weight])
    distances = []
    for _ in range(30):
        optimizer.apply([weight + 0.0], [weight])
        distances.append(float(optimizer.distance))
    assert distances == sorted(distances)
    # No further than the largest norm of a way to it, and not much less.
    assert 0.4 < distances[-1] < 32**0.5


def test_a_large_epsilon_makes_small_steps_downhill():
    moves = []
    for epsilon in (1e-8, 1.0):
        weight = keras.Variable([4.0], name="weight")
        Prodigy(initial_distance=1e-2, epsilon=epsilon).apply([weight + 0.0], [weight])
        moves.append(4.0 - float(weight[0]))
    assert 0 < moves[1] < moves[0]


def test_the_distance_is_there_when_built():
    with pytest.raises(ValueError, match="when the optimizer is built"):
        Prodigy().distance  # noqa: B018
