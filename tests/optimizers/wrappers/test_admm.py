import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.optimizers import ADMM, operators
from tests.optimizers.wrappers.followed import variables
from tests.optimizers.wrappers.test_proximal import WIDE, X, Y
from tests.thorough import TRAININGS, thorough_but


def fitted(optimizer, kernel, steps):
    """Trains a linear regression on the whole data."""
    optimizer.build([kernel])

    @tf.function(jit_compile=True)
    def train():
        for _ in tf.range(steps):
            residual = X @ kernel.value - Y[:, None]
            optimizer.apply([tf.transpose(X) @ residual / 80], [kernel])

    train()


@pytest.mark.parametrize("rho", thorough_but({1.0}, [0.05, 1.0, 20.0], TRAININGS))
def test_ends_where_scikit_learn_does_with_an_optimizer_of_any_step(rho):
    from sklearn.linear_model import Lasso

    optimizer = ADMM(
        keras.optimizers.Adam(0.02, beta_2=0.99), operators.L1Shrinkage(0.2), rho=rho
    )
    kernel = keras.Variable(np.zeros((6, 1), "float32"), name="kernel")
    fitted(optimizer, kernel, 3000)
    expected = Lasso(alpha=0.2, fit_intercept=False).fit(*WIDE).coef_
    with optimizer.evaluation_weights():
        found = np.array(kernel)[:, 0]
    np.testing.assert_allclose(found, expected, atol=0.02)
    np.testing.assert_array_equal(found == 0, expected == 0)
    assert max(optimizer.residuals) < 0.05


@pytest.mark.parametrize(
    ("gradient", "factor"), [(0.0, 1.0), (-40.0, 0.5), (-2.5, 2.0)]
)
def test_one_meeting_is_as_boyd_writes_it(gradient, factor):
    """And `rho` moves; the sums are kept in units of 1 / rho."""
    shrink = operators.L1Shrinkage(0.5)
    optimizer = ADMM(keras.optimizers.SGD(0.1), shrink, rho=2.0, sync_period=1)
    kernel = keras.Variable([[1.0, 1.0]], name="kernel")
    optimizer.apply([tf.fill((1, 2), gradient)], [kernel])
    w = 1.0 - 0.1 * gradient
    z = w - 0.5 / 2.0
    apart, moved = 2**0.5 * (w - z), 2.0 * 2**0.5 * abs(z - 1.0)
    np.testing.assert_allclose(optimizer.residuals, (apart, moved), atol=1e-6)
    u = (w - z) / factor
    optimizer.apply([tf.zeros((1, 2))], [kernel])
    expected = w - 0.1 * (2.0 * factor) * (w - z + u)
    np.testing.assert_allclose(kernel, [[expected] * 2], rtol=1e-6)


def test_rho_stays_on_request():
    shrink, slow = operators.L1Shrinkage(0.5), keras.optimizers.SGD(0.1)
    optimizer = ADMM(slow, shrink, rho=2.0, sync_period=1, adapt_rho=False)
    kernel = keras.Variable([[1.0, 1.0]], name="kernel")
    optimizer.apply([tf.fill((1, 2), -40.0)], [kernel])
    w = 5.0
    # The copies are at w - 0.25, and the sums at 0.25.
    optimizer.apply([tf.zeros((1, 2))], [kernel])
    np.testing.assert_allclose(kernel, [[w - 0.1 * 2.0 * 0.5] * 2], rtol=1e-6)


def test_prunes_exactly_and_trains_what_is_left():
    optimizer = ADMM(
        keras.optimizers.Adam(0.02), operators.CardinalityProjection(0.5), rho=0.5
    )
    kernel = keras.Variable(np.zeros((6, 1), "float32"), name="kernel")
    fitted(optimizer, kernel, 600)
    with optimizer.evaluation_weights():
        found = np.array(kernel)[:, 0]
    # The best of all 20 choices of three, by least squares.
    assert list(np.flatnonzero(found)) == [0, 2, 5]
    best = np.linalg.lstsq(X[:, [0, 2, 5]], Y, rcond=None)[0]
    np.testing.assert_allclose(found[[0, 2, 5]], best, atol=0.05)


def test_weights_that_are_not_chosen_train_as_without():
    made = [variables() for _ in range(2)]
    plain = keras.optimizers.SGD(0.1)
    optimizer = ADMM(keras.optimizers.SGD(0.1), operators.L1Shrinkage(0.5), rho=1.0)
    for _ in range(15):
        for one, weights in ((plain, made[0]), (optimizer, made[1])):
            one.apply([tf.ones((4, 3)), tf.ones(3)], weights)
    np.testing.assert_array_equal(made[0][1], made[1][1])
    assert np.any(np.array(made[0][0]) != np.array(made[1][0]))
