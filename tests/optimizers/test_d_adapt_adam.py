import keras

from keras_ext.optimizers import DAdaptAdam


def test_the_distance_grows_up_to_that_of_the_solution():
    weight = keras.Variable([4.0, -4.0], name="weight")
    optimizer = DAdaptAdam(initial_distance=1e-2)
    optimizer.build([weight])
    distances = []
    for _ in range(30):
        optimizer.apply([weight + 0.0], [weight])
        distances.append(float(optimizer.distance))
    assert distances == sorted(distances)
    assert 0.02 < distances[-1] < 32**0.5
