import keras
import numpy as np

from keras_ext.optimizers import RAdam


def path(optimizer, updates=6):
    weight = keras.Variable(0.0, name="weight")
    for _ in range(updates):
        optimizer.apply([keras.ops.array(7.0)], [weight])
        yield float(weight)


def test_without_a_variance_to_trust_it_is_descent_with_momentum():
    """With beta_2 = 0.999 there is none in the first five updates."""
    first = np.diff([0.0, *path(RAdam(0.01))])
    np.testing.assert_allclose(first[:5], -0.07, rtol=1e-5)
    assert abs(first[5]) < 0.01


def test_of_averages_that_are_short_for_ever_nothing_is_trusted():
    """That of beta_2 = 0.5 is one over three gradients."""
    steps = np.diff([0.0, *path(RAdam(0.01, beta_2=0.5), 20)])
    np.testing.assert_allclose(steps, -0.07, rtol=1e-5)
