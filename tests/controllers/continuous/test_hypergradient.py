import math

import keras
import numpy as np
import pytest

from keras_ext.controllers import Hypergradient


def test_adam_moves_as_the_optimizer_of_keras():
    gradients = np.random.default_rng(0).normal(0.3, 1, (40, 3))
    controller = Hypergradient(0.05, smoothing=0.8, square_smoothing=0.95, max_step=9)
    weights = keras.Variable(np.zeros(3), dtype="float32")
    optimizer = keras.optimizers.Adam(0.05, beta_1=0.8, beta_2=0.95, epsilon=1e-12)
    position = np.zeros(3)
    for gradient in gradients:
        position += controller.update(gradient)
        optimizer.apply([keras.ops.convert_to_tensor(gradient, "float32")], [weights])
    np.testing.assert_allclose(position, np.asarray(weights.value), rtol=1e-4)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("rule", ["adam", "sign", "normalized"])
def test_the_size_of_the_gradient_does_not_matter(rule, scale):
    gradients = np.random.default_rng(0).normal(0.3, 1, (20, 2))
    plain, scaled = (Hypergradient(rule=rule) for _ in range(2))
    for gradient in gradients:
        expected = plain.update(gradient)
        np.testing.assert_allclose(scaled.update(scale * gradient), expected)


def test_sign_and_normalized_by_hand():
    sign = Hypergradient(step=0.25, rule="sign", smoothing=0.0, max_step=1.0)
    np.testing.assert_array_equal(sign.update([3.0, -4.0, 0.0]), [-0.25, 0.25, 0.0])
    along = Hypergradient(step=0.25, rule="normalized", smoothing=0.0, max_step=1.0)
    np.testing.assert_allclose(along.update([3.0, -4.0]), [-0.15, 0.2])
    np.testing.assert_array_equal(along.update([0.0, 0.0]), [0.0, 0.0])
    limited = Hypergradient(step=5.0, rule="sign", max_step=0.125)
    assert limited.update(1.0) == -0.125


class Ridge:
    """Trains a linear model with a penalty `strength * w**2` by gradient descent."""

    def __init__(self, noise=1.0, rows=20):
        rng = np.random.default_rng(0)
        true = rng.normal(size=8)
        x = rng.normal(size=(2, rows, 8))
        y = x @ true + noise * rng.normal(size=(2, rows))
        (self.x, self.x_val), (self.y, self.y_val) = x, y
        self.rate = 0.05

    def loss(self, w):
        return np.mean((self.x_val @ w - self.y_val) ** 2)

    def loss_gradient(self, w):
        return 2 * self.x_val.T @ (self.x_val @ w - self.y_val) / len(self.x)

    def step(self, w, strength):
        gradient = 2 * self.x.T @ (self.x @ w - self.y) / len(self.x)
        return w - self.rate * (gradient + 2 * strength * w)

    def solution(self, strength):
        gram = self.x.T @ self.x + len(self.x) * strength * np.eye(8)
        return np.linalg.solve(gram, self.x.T @ self.y)


@pytest.mark.parametrize("preconditioner", [None, 0.3])
def test_penalty_gradient_is_the_derivative_of_the_loss_after_the_step(preconditioner):
    ridge = Ridge()
    w = np.random.default_rng(1).normal(size=8)
    p = 1.0 if preconditioner is None else preconditioner

    def loss_after(strength):
        return ridge.loss(w + p * (ridge.step(w, strength) - w))

    h = 1e-5
    by_difference = (loss_after(0.3 + h) - loss_after(0.3 - h)) / (2 * h)
    after = w + p * (ridge.step(w, 0.3) - w)
    exact = Hypergradient.penalty_gradient(
        [ridge.loss_gradient(after)],
        [2 * w],
        ridge.rate,
        None if preconditioner is None else [np.full(8, p)],
    )
    assert exact == pytest.approx(by_difference, rel=1e-7)


@pytest.mark.parametrize("rule", ["adam", "sign", "normalized"])
@pytest.mark.parametrize("start", [1e-3, 10.0])
def test_finds_a_good_strength_while_the_model_trains(rule, start):
    """Closed loop: against the best strength of a grid, each trained to the end."""
    ridge = Ridge(noise=3.0, rows=10)
    controller = Hypergradient(step=0.02, rule=rule)
    w, position = np.zeros(8), math.log(start)
    for _ in range(3000):
        strength = math.exp(position)
        after = ridge.step(w, strength)
        slope = Hypergradient.penalty_gradient(
            [ridge.loss_gradient(after)], [2 * w], ridge.rate
        )
        # From the strength to its logarithm.
        position += controller.update(slope * strength)
        w = after
    best = min(ridge.loss(ridge.solution(s)) for s in np.geomspace(1e-4, 100, 200))
    # The data is such that the penalty matters.
    assert ridge.loss(ridge.solution(1e-3)) > 1.1 * best
    assert ridge.loss(w) < 1.02 * best


@pytest.mark.parametrize("nothing", [math.nan, math.inf])
def test_what_is_no_number_is_forgotten(nothing):
    disturbed, calm = Hypergradient(), Hypergradient()
    for gradient in ([1.0, 2.0], [3.0, -1.0]):
        np.testing.assert_array_equal(disturbed.update([nothing, 1.0]), [0.0, 0.0])
        np.testing.assert_array_equal(disturbed.update(gradient), calm.update(gradient))
    assert Hypergradient().update(nothing) == 0.0


def test_gradients_of_zero_move_nothing():
    assert [Hypergradient(rule=r).update(0.0) for r in ("adam", "sign")] == [0.0, 0.0]
