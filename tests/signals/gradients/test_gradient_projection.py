"""The projections of gradients whose mean and covariance are known."""

import math
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.optimizers import GradientPipeline
from keras_ext.signals import GradientProjection
from tests.thorough import LONG, thorough_but

DIMENSION = 12
MEAN = np.random.default_rng(1).normal(size=DIMENSION)
COVARIANCE = np.diag(np.linspace(0.2, 3.0, DIMENSION)) + 0.1


def sampled(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.multivariate_normal(MEAN, COVARIANCE, count).astype("float32")


def run(projection, gradients, accumulation_steps=1, jit_compile=False):
    optimizer = GradientPipeline(
        keras.optimizers.SGD(0.0),
        accumulation_steps=accumulation_steps,
        signals=[projection],
    )
    half = DIMENSION // 2
    a, b = (
        keras.Variable(np.zeros(half), dtype="float32", name="a"),
        keras.Variable(np.zeros((half, 1)), dtype="float32", name="b"),
    )
    optimizer.build([a, b])

    @tf.function(autograph=False, jit_compile=jit_compile)
    def step(gradient):
        optimizer.apply([gradient[:half], gradient[half:, None]], [a, b])

    for gradient in gradients:
        step(tf.constant(gradient))


def averaged(measurements, smoothing):
    past = smoothing ** np.arange(len(measurements))[::-1]
    return np.average(measurements, axis=0, weights=past)


@pytest.mark.parametrize("jit_compile", thorough_but({False}, [False, True]))
def test_micro_batches_are_multiplied_with_the_gradient_before(jit_compile):
    projection = GradientProjection(every=3, smoothing=0.6, min_samples=2)
    gradients = sampled(4 * 5)
    run(projection, gradients, 4, jit_compile)
    updates = gradients.astype("float64").reshape(5, 4, -1)
    products = [updates[i + 1] @ updates[i].mean(axis=0) for i in (0, 3)]
    expected = averaged([(p.mean(), p.var(ddof=1)) for p in products], 0.6)
    np.testing.assert_allclose(projection.read(), expected, rtol=1e-4)


@pytest.mark.parametrize("jit_compile", thorough_but({False}, [False, True]))
def test_two_successive_gradients_are_multiplied_with_the_one_before(jit_compile):
    projection = GradientProjection(every=4, smoothing=0.6, min_samples=2)
    gradients = sampled(8 + 3)
    run(projection, gradients, 1, jit_compile)
    g = gradients.astype("float64")
    # Once in three until there are two measurements, and from then on once in four.
    products = [g[[i + 1, i + 2]] @ g[i] for i in (0, 3, 8)]
    expected = averaged([(p.mean(), p.var(ddof=1)) for p in products], 0.6)
    np.testing.assert_allclose(projection.read(), expected, rtol=1e-4)


@pytest.mark.thorough(LONG)
def test_replicas_are_multiplied_with_the_gradient_before(strategies):
    strategy = strategies(2)
    projection = GradientProjection(every=3, smoothing=0.0, min_samples=1)
    gradients = sampled(2 * 2).reshape(2, 2, -1)
    with strategy.scope():
        weight = keras.Variable(np.zeros(DIMENSION), dtype="float32", name="weight")
        optimizer = GradientPipeline(keras.optimizers.SGD(0.0), signals=[projection])
        optimizer.build([weight])

    @tf.function(autograph=False)
    def step(gradients):
        def on_replica():
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            # In `fit`, the loss of a replica is divided by their number.
            optimizer.apply([tf.gather(gradients, replica) / 2.0], [weight])

        strategy.run(on_replica)

    for gradient in gradients:
        step(tf.constant(gradient))
    products = gradients[1] @ gradients[0].mean(axis=0)
    expected = products.mean(), products.var(ddof=1)
    np.testing.assert_allclose(projection.read(), expected, rtol=1e-4)


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.thorough(LONG)
def test_estimates_the_truth(count):
    """The mean is |G|**2, and the variance that of g h for independent g and h.

    With `h`, the mean of `count` gradients, given, the variance of g h is h S h, whose
    expectation is G S G + trace(S S) / count.
    """
    comparisons = 250
    smoothing = 0.98
    projection = GradientProjection(every=3, smoothing=smoothing)
    run(projection, sampled(3 * count * comparisons), count)
    signal = MEAN @ MEAN
    noise = MEAN @ COVARIANCE @ MEAN + np.trace(COVARIANCE @ COVARIANCE) / count
    mean, variance = projection.read()
    seen = (1 + smoothing) / (1 - smoothing)
    samples = max(count, 2)
    # The direction varies as well, once per comparison.
    spread = noise / samples + MEAN @ COVARIANCE @ MEAN / count
    assert mean == pytest.approx(signal, abs=4 * math.sqrt(spread / seen))
    relative = math.sqrt((2 / (samples - 1) + 1.0) / seen)
    assert relative < 0.2
    assert variance == pytest.approx(noise, rel=4 * relative)


@pytest.mark.thorough(LONG)
def test_unit_makes_it_the_variance_of_samples():
    found = []
    for unit in (1.0, 32.0):
        projection = GradientProjection(every=3, smoothing=0.6, min_samples=1)
        projection.unit.assign(unit)
        run(projection, sampled(8), 4)
        found.append(projection.read())
    assert found[1][0] == found[0][0]
    assert found[1][1] == pytest.approx(32 * found[0][1])


def test_is_nan_until_there_are_enough_samples():
    projection = GradientProjection(every=3, min_samples=2)
    assert np.isnan(projection.read()).all()
    run(projection, sampled(4))
    assert np.isnan(projection.read()).all()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"every": 2}, "`every` must be an integer >= 3. Received: every=2."),
        (
            {"smoothing": 1.0},
            "`smoothing` must be a number in [0, 1). Received: smoothing=1.0.",
        ),
        (
            {"min_samples": 0},
            "`min_samples` must be an integer >= 1. Received: min_samples=0.",
        ),
    ],
)
def test_rejects_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        GradientProjection(**kwargs)
