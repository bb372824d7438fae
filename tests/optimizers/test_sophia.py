import keras
import numpy as np
import pytest

from keras_ext.optimizers import Lookahead, Sophia


def step(optimizer, gradient, curvature):
    """What an update adds to a weight of zeros."""
    weight = keras.Variable(np.zeros(len(gradient), "float32"), name="weight")
    optimizer.build([weight])
    optimizer.update_curvature(lambda weights: [keras.ops.array(curvature)])
    optimizer.apply([keras.ops.array(gradient)], [weight])
    return weight.numpy()


@pytest.mark.parametrize(
    ("estimator", "gamma"), [("hutchinson", 0.01), ("gauss_newton_bartlett", 0.05)]
)
def test_it_is_newtons_step_where_the_curvature_is_large(estimator, gamma):
    optimizer = Sophia(0.5, estimator=estimator, beta_1=0.0, beta_2=0.0)
    found = step(optimizer, [1.0, -6.0], [200.0, 600.0])
    expected = [-0.5 / (gamma * 200), 0.5 * 6 / (gamma * 600)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_elsewhere_it_is_the_sign():
    optimizer = Sophia(0.5, beta_1=0.0, beta_2=0.0)
    found = step(optimizer, [1.0, -6.0, 1e-3], [1.0, -4.0, 0.0])
    np.testing.assert_allclose(found, [-0.5, 0.5, -0.5], rtol=1e-6)


def test_estimates_are_asked_for_when_they_are_due_and_kept_if_finite():
    asked = []

    def estimate(weights):
        asked.append(int(optimizer.iterations))
        return [keras.ops.array([np.nan, 3.0]), None]

    weights = [keras.Variable(np.zeros(2, "float32"), name=name) for name in "ab"]
    optimizer = Sophia(update_every=3, beta_2=0.5)
    optimizer.build(weights)
    for _ in range(5):
        # As when micro-batches are accumulated.
        optimizer.update_curvature(estimate)
        optimizer.update_curvature(estimate)
        optimizer.apply([keras.ops.ones(2)] * 2, weights)
    assert asked == [0, 3]
    kept = [optimizer.slots_of(w)["curvature"].numpy() for w in weights]
    np.testing.assert_allclose(kept, [[0.0, 0.5 * 1.5 + 0.5 * 3.0], [0.0, 0.0]])


def test_an_update_without_a_curvature_says_where_it_comes_from():
    weight = keras.Variable(1.0, name="weight")
    with pytest.raises(ValueError, match="training.Curvature"):
        Sophia().apply([keras.ops.ones(())], [weight])
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(Lookahead(Sophia()), "mse", run_eagerly=True)
    with pytest.raises(ValueError, match="told the curvature"):
        model.fit(np.ones((2, 2)), np.ones((2, 1)), verbose=0)
