import functools
import math

import keras
import numpy as np
import pytest

import keras_ext as kx
from keras_ext.callbacks import AdaptiveRegularization
from keras_ext.signals.losses._slope_probe import SlopeProbe
from tests.callbacks.regularization.perceptron import (
    KEYS,
    RNG,
    START,
    TRAIN,
    VALIDATION,
    X,
    adapt,
    plain_model,
    validation_loss,
)
from tests.thorough import LONG


def slopes(model, **options):
    """By path; with the live values that the callback makes."""
    callback = AdaptiveRegularization(TRAIN, VALIDATION, **options)
    callback.set_model(model)
    probe = SlopeProbe(TRAIN, VALIDATION, seed=0)
    return dict(
        zip(callback._knobs.live, probe.measure(model, callback._knobs), strict=True)
    )


@functools.cache
def slopes_of_the_plain_model():
    return slopes(plain_model())


@pytest.mark.parametrize("path", KEYS)
def test_slopes_are_those_of_the_loss_after_a_step(path):
    key = KEYS[path]
    start = START[key]

    def loss_after_a_step(value):
        model = plain_model(**{key: value})
        model.run_eagerly = True
        model.train_on_batch(*TRAIN)
        return validation_loss(model)

    # Linear within the rounding of float32, so that the steps may be large.
    low, high = 1e-9, 2 * start
    difference = (loss_after_a_step(high) - loss_after_a_step(low)) / (high - low)
    on_scale = start * (1 - start) if key == "smoothing" else start
    measured = slopes_of_the_plain_model()[path]
    assert measured == pytest.approx(difference * on_scale, rel=0.02)


@pytest.mark.thorough(LONG)
def test_slopes_with_adam_are_those_of_its_preconditioner():
    """By hand: the second moments after steps with known gradients."""
    model = plain_model(keras.optimizers.Adam, l1=0.0, activity=0.0, smoothing=0.0)
    squares = [np.zeros(w.shape) for w in model.trainable_variables]
    for _ in range(3):
        for square, g in zip(squares, gradients(model, TRAIN), strict=True):
            square *= 0.999
            square += 0.001 * g**2
        model.train_on_batch(*TRAIN)
    kernel = keras.ops.convert_to_numpy(model.get_layer("hidden").kernel)
    unbiased = squares[0] / (1 - 0.999**3)
    plain = gradients(model, VALIDATION, penalties=False)
    expected = -0.003 * np.sum(plain[0] / np.sqrt(unbiased) * 2 * kernel) * START["l2"]
    measured = slopes(model, include="kernel_regularizer/l2")
    assert list(measured.values()) == pytest.approx([expected], rel=2e-3)


@pytest.mark.thorough(LONG)
def test_slopes_are_plain_when_gradients_are_transformed():
    """The moments of clipped gradients say nothing about those that are not."""
    model = plain_model(keras.optimizers.Adam, l1=0.0, activity=0.0, smoothing=0.0)
    clipping = [kx.gradients.ClipByNorm(1e-3)]
    model.compile(
        kx.optimizers.GradientPipeline(model.optimizer, transforms=clipping), model.loss
    )
    model.train_on_batch(*TRAIN)
    kernel = keras.ops.convert_to_numpy(model.get_layer("hidden").kernel)
    gradient = gradients(model, VALIDATION, penalties=False)[0]
    expected = -0.003 * np.sum(gradient * 2 * kernel) * START["l2"]
    measured = slopes(model, include="kernel_regularizer/l2")
    assert list(measured.values()) == pytest.approx([expected], rel=2e-3)


def gradients(model, data, penalties=True):
    """Of the cross entropy of a perceptron with tanh, written out."""
    w, b, v, c = (keras.ops.convert_to_numpy(w) for w in model.trainable_variables)
    x, y = data
    h = np.tanh(x @ w + b)
    logits = h @ v + c
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    error = (p - y) / len(x)
    back = (error @ v.T) * (1 - h**2)
    first = x.T @ back + (2 * START["l2"] * w if penalties else 0)
    return [first, back.sum(0), h.T @ error, error.sum(0)]


@pytest.mark.thorough(LONG)
def test_slope_of_noise_is_that_of_the_expected_loss():
    """Noise on the inputs of a linear model is a ridge penalty, in closed form."""
    x, y = X[:40], X[:40] @ RNG.normal(size=(6, 1)) + RNG.normal(size=(40, 1))
    x_val, y_val = X[40:], X[40:] @ RNG.normal(size=(6, 1))
    deviation, rate = 0.5, 0.01
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.GaussianNoise(deviation, name="noise"),
            keras.layers.Dense(1, use_bias=False),
        ]
    )
    model.compile(keras.optimizers.SGD(rate), "mse")
    w = keras.ops.convert_to_numpy(model.trainable_variables[0])
    callback = AdaptiveRegularization((x, y), (x_val, y_val))
    callback.set_model(model)
    probe = SlopeProbe((x, y), (x_val, y_val), seed=0)
    measured = []
    for seed in range(60):
        model.get_layer("noise").seed_generator.state.assign([seed, 0])
        measured += list(probe.measure(model, callback._knobs))
    # The expected training loss has deviation ** 2 * |w| ** 2 more.
    gradient = 2 * x_val.T @ (x_val @ w - y_val) / len(x_val)
    expected = -rate * float(np.sum(gradient * 2 * w)) * 2 * deviation**2
    error = np.std(measured) / math.sqrt(len(measured))
    assert error < 0.2 * abs(expected)
    # A finite difference of sinh(2 * 0.4) / 0.8, in place of 1.
    assert abs(np.mean(measured) - expected * np.sinh(0.8) / 0.8) < 3 * error


def test_rates_are_moved_where_the_others_are_as_they_were(monkeypatch):
    model = plain_model()
    callback = AdaptiveRegularization(TRAIN, VALIDATION)
    callback.set_model(model)
    knobs, seen = callback._knobs, []

    def no_slopes(self, model, knobs, direction):
        seen.append(knobs.values())
        return np.zeros(len(knobs.live))

    monkeypatch.setattr(SlopeProbe, "_random_slopes", no_slopes)
    before = knobs.values()
    SlopeProbe(TRAIN, VALIDATION, seed=0).measure(model, knobs)
    assert len(before) > 1
    assert seen == [before]


@pytest.mark.thorough(LONG)
def test_measuring_slopes_leaves_the_model_as_it_was():
    model = plain_model(noise=keras.layers.Dropout(0.3, seed=3))
    model.train_on_batch(*TRAIN)
    callback = adapt("hypergradient")
    callback.set_model(model)
    before = [keras.ops.convert_to_numpy(v).copy() for v in model.variables]
    values = callback._knobs.values()
    SlopeProbe(TRAIN, VALIDATION, seed=0).measure(model, callback._knobs)
    for kept, v in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(kept, keras.ops.convert_to_numpy(v))
    assert callback._knobs.values() == values
