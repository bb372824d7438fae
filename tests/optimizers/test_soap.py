import keras
import numpy as np

from keras_ext.optimizers import SOAP
from tests.optimizers.steps import steps_of

RNG = np.random.default_rng(0)


def test_the_first_gradient_is_for_the_basis_alone():
    steps = steps_of(SOAP(0.1), RNG.normal(size=(2, 3, 2)), np.zeros((3, 2)))
    assert not np.any(steps[0])
    assert np.any(steps[1])


def test_it_turns_with_the_coordinates():
    """Unlike Adam: rotated gradients give rotated steps, also past a new basis."""
    gradients = RNG.normal(size=(9, 3, 3))
    turn = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
    arguments = {"update_every": 3, "epsilon": 1e-3}
    plain = steps_of(SOAP(0.1, **arguments), gradients, np.zeros((3, 3)))
    turned = steps_of(SOAP(0.1, **arguments), turn @ gradients, np.zeros((3, 3)))
    np.testing.assert_allclose(turned, turn @ np.array(plain), atol=1e-3)


def test_without_matrices_it_is_adam():
    """But for the first gradient: with vectors, and where all sides are too long."""
    gradients = RNG.normal(size=(4, 3, 2))
    arguments = {"beta_1": 0.9, "beta_2": 0.99}
    ours = steps_of(SOAP(0.1, max_size=1, **arguments), gradients, np.zeros((3, 2)))
    adam = keras.optimizers.Adam(0.1, epsilon=1e-8, **arguments)
    adams = steps_of(adam, gradients[1:], np.zeros((3, 2)))
    np.testing.assert_allclose(ours[1:], adams, rtol=1e-3, atol=1e-6)
    vectors = steps_of(SOAP(0.1, **arguments), gradients[:, 0], np.zeros(2))
    np.testing.assert_allclose(vectors, np.array(ours)[:, 0], rtol=1e-5, atol=1e-7)
