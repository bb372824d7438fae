"""The noise scale of gradients whose mean and covariance are known."""

import math
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext import HyperVariable
from keras_ext.optimizers import GradientPipeline
from keras_ext.signals import GradientNoiseScale
from tests.thorough import LONG, STATISTICS, thorough_but

DIMENSION = 40
MEAN = np.random.default_rng(1).normal(size=DIMENSION)
COVARIANCE = np.diag(np.linspace(0.2, 3.0, DIMENSION)) + 0.1
TRUTH = np.trace(COVARIANCE) / (MEAN @ MEAN)


def relative_error(count, comparisons, mean=MEAN, covariance=COVARIANCE):
    """The standard deviation of the estimate, relative to it, for normal gradients.

    One comparison of `count` gradients estimates the trace by their sample variance and
    the signal by the squared norm of their mean, less what the noise adds to it. These
    are their variances and covariance, for samples of a normal distribution; a mean
    over many comparisons has the error that follows from them to first order.
    """
    trace, signal = np.trace(covariance), mean @ mean
    spread = np.trace(covariance @ covariance)
    trace_variance = 2 * spread / (count - 1)
    signal_variance = (
        4 * mean @ covariance @ mean / count
        + 2 * spread / count**2
        + trace_variance / count**2
    )
    both = -trace_variance / count
    variance = (
        trace_variance / trace**2
        + signal_variance / signal**2
        - 2 * both / (trace * signal)
    )
    return math.sqrt(variance / comparisons)


def weights_seen(smoothing):
    """How many equal weights are worth those of an exponential average."""
    return (1 + smoothing) / (1 - smoothing)


def sampled(count):
    rng = np.random.default_rng(0)
    return rng.multivariate_normal(MEAN, COVARIANCE, count).astype("float32")


def compare(gradients):
    """Sample variance, and squared mean without bias, of some gradients, in float64."""
    gradients = np.asarray(gradients, "float64")
    mean = gradients.mean(axis=0)
    noise = np.sum((gradients - mean) ** 2) / (len(gradients) - 1)
    return noise, np.sum(mean**2) - noise / len(gradients)


def average_ratio(comparisons, smoothing):
    """Both parts averaged separately, by weights that fall into the past."""
    past = smoothing ** np.arange(len(comparisons))[::-1]
    noise, signal = np.average(comparisons, axis=0, weights=past)
    return noise / signal


def run(noise, gradients, accumulation_steps=1, jit_compile=False, iterations=0):
    """Feeds gradients one by one to a pipeline whose learning rate is 0."""
    optimizer = GradientPipeline(
        keras.optimizers.SGD(0.0),
        accumulation_steps=accumulation_steps,
        signals=[noise],
    )
    # In two weights, to see that they count together.
    a, b = (
        keras.Variable(np.zeros(DIMENSION // 2), dtype="float32", name="a"),
        keras.Variable(np.zeros((DIMENSION // 2, 1)), dtype="float32", name="b"),
    )
    optimizer.build([a, b])
    optimizer.iterations.assign(iterations)
    half = DIMENSION // 2

    @tf.function(autograph=False, jit_compile=jit_compile)
    def step(gradient):
        optimizer.apply([gradient[:half], gradient[half:, None]], [a, b])

    for gradient in gradients:
        step(tf.constant(gradient))
    return optimizer


# Against the formulas, to the last digits.


@pytest.mark.parametrize("jit_compile", thorough_but({False}, [False, True]))
def test_micro_batches_are_compared_with_their_mean(jit_compile):
    noise = GradientNoiseScale(smoothing=0.6, min_samples=3)
    gradients = sampled(4 * 3)
    run(noise, gradients, 4, jit_compile)
    comparisons = [compare(g) for g in gradients.reshape(3, 4, -1)]
    assert noise.read() == pytest.approx(average_ratio(comparisons, 0.6), rel=1e-4)


@pytest.mark.parametrize("jit_compile", thorough_but({False}, [False, True]))
def test_successive_gradients_are_compared_in_pairs(jit_compile):
    noise = GradientNoiseScale(every=5, smoothing=0.6, min_samples=3)
    gradients = sampled(12)
    run(noise, gradients, 1, jit_compile)
    # Without a pause until there are three pairs, and from then on one in five.
    pairs = [gradients[i : i + 2] for i in (0, 2, 4, 10)]
    comparisons = [compare(pair) for pair in pairs]
    assert noise.read() == pytest.approx(average_ratio(comparisons, 0.6), rel=1e-4)


def replicated(strategy, noise, gradients, accumulation_steps=1):
    """Feeds gradients, of shape (step, replica, dimension), to two replicas."""
    with strategy.scope():
        weight = keras.Variable(np.zeros(DIMENSION), dtype="float32", name="weight")
        optimizer = GradientPipeline(
            keras.optimizers.SGD(0.0),
            accumulation_steps=accumulation_steps,
            signals=[noise],
        )
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


def test_replicas_are_compared_with_their_mean(strategies):
    noise = GradientNoiseScale(smoothing=0.6, min_samples=3)
    gradients = sampled(3 * 2).reshape(3, 2, -1)
    replicated(strategies(2), noise, gradients)
    comparisons = [compare(g) for g in gradients]
    assert noise.read() == pytest.approx(average_ratio(comparisons, 0.6), rel=1e-4)


def test_micro_batches_on_replicas_are_compared_all_together(strategies):
    noise = GradientNoiseScale(smoothing=0.6, min_samples=3)
    gradients = sampled(3 * 4 * 2).reshape(3 * 4, 2, -1)
    replicated(strategies(2), noise, gradients, accumulation_steps=4)
    comparisons = [compare(g) for g in gradients.reshape(3, 4 * 2, -1)]
    assert noise.read() == pytest.approx(average_ratio(comparisons, 0.6), rel=1e-4)


def test_follows_a_number_of_micro_batches_that_changes():
    noise = GradientNoiseScale(smoothing=0.6, min_samples=2)
    steps = HyperVariable(4, "accumulation_steps", bounds=(1, 8), dtype="int32")
    gradients = sampled(4 + 2)
    optimizer = GradientPipeline(
        keras.optimizers.SGD(0.0), accumulation_steps=steps, signals=[noise]
    )
    weight = keras.Variable(np.zeros(DIMENSION), dtype="float32", name="weight")
    for i, gradient in enumerate(gradients):
        if i == 4:
            steps.assign(2)
        optimizer.apply([tf.constant(gradient)], [weight])
    comparisons = [compare(gradients[:4]), compare(gradients[4:])]
    assert noise.read() == pytest.approx(average_ratio(comparisons, 0.6), rel=1e-4)


def test_does_not_compare_with_a_gradient_of_long_ago():
    # Kept in the first update; the next ones are compared by their micro-batches, and
    # the fifth one, which is due to be compared with the fourth, cannot be.
    noise = GradientNoiseScale(every=3, smoothing=0.6, min_samples=3)
    steps = HyperVariable(1, "accumulation_steps", bounds=(1, 2), dtype="int32")
    gradients = sampled(8)
    optimizer = GradientPipeline(
        keras.optimizers.SGD(0.0), accumulation_steps=steps, signals=[noise]
    )
    weight = keras.Variable(np.zeros(DIMENSION), dtype="float32", name="weight")
    for i, gradient in enumerate(gradients):
        steps.assign(1 if i in (0, 7) else 2)
        optimizer.apply([tf.constant(gradient)], [weight])
    assert int(optimizer.iterations) == 5
    comparisons = [compare(gradients[i : i + 2]) for i in (1, 3, 5)]
    assert noise.read() == pytest.approx(average_ratio(comparisons, 0.6), rel=1e-4)


def test_rows_of_a_sparse_gradient_are_added_before_they_are_compared():
    rng = np.random.default_rng(0)
    rows = rng.normal(1.0, 1.0, (4, 3, 2)).astype("float32")
    tokens = np.array([[0, 1, 0], [2, 2, 2], [4, 3, 4], [1, 1, 0]])
    dense = np.zeros((4, 5, 2))
    for i in range(4):
        np.add.at(dense[i], tokens[i], rows[i])
    noise = GradientNoiseScale(smoothing=0, min_samples=1)
    optimizer = GradientPipeline(
        keras.optimizers.SGD(0.0), accumulation_steps=4, signals=[noise]
    )
    table = keras.Variable(np.zeros((5, 2)), dtype="float32", name="table")
    for i in range(4):
        slices = tf.IndexedSlices(
            tf.constant(rows[i]), tf.constant(tokens[i]), tf.constant([5, 2])
        )
        optimizer.apply([slices], [table])
    expected, signal = compare(dense.reshape(4, -1))
    assert noise.read() == pytest.approx(expected / signal, rel=1e-4)


@pytest.mark.parametrize("iterations", [4, 5, 6])
def test_training_that_is_resumed_compares_only_what_it_has_seen(iterations):
    # The optimizer has made some updates already, none of which was measured.
    noise = GradientNoiseScale(every=3, smoothing=0.5, min_samples=1)
    gradients = sampled(9)
    run(noise, gradients, iterations=iterations)
    # The first pair begins at an even update, and later ones at every third.
    possible = [
        average_ratio(
            [
                compare(gradients[i : i + 2])
                for i in range(8)
                if i == first or (i > first + 1 and i % 3 == later)
            ],
            smoothing=0.5,
        )
        for first in range(2)
        for later in range(3)
    ]
    assert np.isclose(noise.read(), possible, rtol=1e-4).any()


def test_the_parts_are_averages_that_are_right_from_the_start():
    noise = GradientNoiseScale(smoothing=0.9, min_samples=1)
    gradients = sampled(4 * 3)
    run(noise, gradients, 4)
    comparisons = [compare(g) for g in gradients.reshape(3, 4, -1)]
    past = 0.9 ** np.arange(3)[::-1]
    trace, signal = np.average(comparisons, axis=0, weights=past)
    np.testing.assert_allclose(noise.read_parts(), (signal, trace), rtol=1e-4)


def test_the_unit_can_change_with_the_size_of_the_batch():
    """Micro-batches of one sample, and then of the mean of three."""
    noise = GradientNoiseScale(smoothing=0.5, min_samples=2)
    singles, triples = sampled(4), sampled(12).reshape(4, 3, -1).mean(axis=1)
    optimizer = run(noise, singles, 4)
    noise.unit.assign(3.0)
    half = DIMENSION // 2
    weights = optimizer.inner_optimizer._trainable_variables
    for gradient in triples:
        parts = [tf.constant(gradient[:half]), tf.constant(gradient[half:, None])]
        optimizer.apply(parts, weights)
    first, second = compare(singles), compare(triples)
    expected = average_ratio([first, (3 * second[0], second[1])], 0.5)
    assert noise.read() == pytest.approx(expected, rel=1e-4)


# Against the truth, by many samples. Four standard deviations are not exceeded once in
# ten thousand seeds.


@pytest.mark.thorough(STATISTICS)
def test_estimates_the_truth_from_micro_batches():
    smoothing, count = 0.99, 5
    noise = GradientNoiseScale(smoothing=smoothing)
    run(noise, sampled(count * 600), count)
    error = relative_error(count, weights_seen(smoothing))
    assert error < 0.05
    assert noise.read() == pytest.approx(TRUTH, rel=4 * error)


def test_estimates_the_truth_from_successive_gradients():
    smoothing = 0.99
    noise = GradientNoiseScale(every=2, smoothing=smoothing)
    run(noise, sampled(2 * 600))
    error = relative_error(2, weights_seen(smoothing))
    assert error < 0.05
    assert noise.read() == pytest.approx(TRUTH, rel=4 * error)


@pytest.mark.thorough(STATISTICS)
def test_estimates_the_truth_from_replicas(strategies):
    smoothing = 0.99
    noise = GradientNoiseScale(smoothing=smoothing)
    replicated(strategies(2), noise, sampled(2 * 600).reshape(600, 2, -1))
    error = relative_error(2, weights_seen(smoothing))
    assert error < 0.05
    assert noise.read() == pytest.approx(TRUTH, rel=4 * error)


@pytest.mark.thorough(LONG)
def test_measures_the_noise_of_a_loss_while_fitting():
    # Samples x around c, and the loss |w - x|**2 / 2: the gradient w - x has mean w - c
    # and the covariance of x, and a micro-batch of 8 has one eighth of it.
    rng = np.random.default_rng(0)
    x = rng.normal(0.0, [[1.0, 2.0]], (8 * 5 * 400, 2)).astype("float32")
    start = np.array([3.0, 1.0], "float32")

    class Offset(keras.layers.Layer):
        def build(self, input_shape):
            self.w = self.add_weight(shape=(2,), initializer="zeros", name="w")

        def call(self, inputs):
            return self.w - inputs

    model = keras.Sequential([keras.Input((2,)), Offset()])
    model.layers[0].w.assign(start)
    noise = GradientNoiseScale(smoothing=0.99)
    model.compile(
        GradientPipeline(
            keras.optimizers.SGD(0.0), accumulation_steps=5, signals=[noise]
        ),
        loss=lambda y, offset: keras.ops.sum(offset**2, axis=-1) / 2,
        steps_per_execution=50,
    )
    model.fit(x, np.zeros((len(x), 1)), batch_size=8, verbose=0)
    mean, covariance = start, np.diag([1.0, 4.0]) / 8
    truth = np.trace(covariance) / (mean @ mean)
    error = relative_error(5, weights_seen(0.99), mean, covariance)
    assert noise.read() == pytest.approx(truth, rel=4 * error)


# When it is not known.


def test_is_nan_until_there_are_enough_samples():
    noise = GradientNoiseScale(min_samples=3)
    optimizer = GradientPipeline(
        keras.optimizers.SGD(0.0), accumulation_steps=2, signals=[noise]
    )
    weight = keras.Variable([0.0], name="weight")
    optimizer.build([weight])
    known = [not math.isnan(noise.read())]
    for gradient in [1.0, 2.0] * 4:
        optimizer.apply([tf.constant([gradient])], [weight])
        known.append(not math.isnan(noise.read()))
    assert known == [False] * 6 + [True] * 3


def test_a_unit_may_be_a_share_of_a_sample():
    noise = GradientNoiseScale()
    noise.unit.assign(0.25)
    assert float(noise.unit) == 0.25


def test_is_nan_before_it_is_built():
    # As at the start of the first epoch of a model without an input shape.
    assert math.isnan(GradientNoiseScale().read())


def test_is_nan_while_the_noise_hides_the_gradient():
    # The mean of these is 0, so the estimate of its square is below 0.
    noise = GradientNoiseScale(smoothing=0, min_samples=1)
    run(noise, [np.ones(DIMENSION, "float32"), -np.ones(DIMENSION, "float32")], 2)
    assert math.isnan(noise.read())


def test_an_update_that_is_skipped_is_not_measured():
    noise = GradientNoiseScale(smoothing=0, min_samples=1)
    good = sampled(2)
    bad = np.full((2, DIMENSION), np.nan, "float32")
    run(noise, [*good, *bad], 2)
    expected, signal = compare(good)
    assert noise.read() == pytest.approx(expected / signal, rel=1e-4)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"every": 1}, "`every` must be an integer >= 2. Received: every=1."),
        (
            {"smoothing": 1.0},
            "`smoothing` must be a number in [0, 1). Received: smoothing=1.0.",
        ),
        (
            {"smoothing": math.nan},
            "`smoothing` must be a number in [0, 1). Received: smoothing=nan.",
        ),
        (
            {"min_samples": 0},
            "`min_samples` must be an integer >= 1. Received: min_samples=0.",
        ),
    ],
)
def test_rejects_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        GradientNoiseScale(**kwargs)
