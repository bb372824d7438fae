"""Moments of gradients whose mean and covariance are known."""

import functools
import math
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext import HyperVariable
from keras_ext.optimizers import GradientPipeline
from keras_ext.signals import GradientMoments
from tests.thorough import LONG, STATISTICS, thorough_but

DIMENSION = 30
MEAN = np.random.default_rng(1).normal(0.0, 0.3, DIMENSION)
VARIANCES = np.linspace(0.2, 3.0, DIMENSION)
# 13 of the numbers are in one weight, the others in another one.
SPLIT = 13


def sampled(*shape, mean=MEAN, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(mean, np.sqrt(VARIANCES), (*shape, DIMENSION)).astype("float32")


def expected(groups, part=slice(None)):
    """The quantities in float64, from the samples of each update of a window.

    From textbook definitions: analysis of variance within the groups (or of all as
    one, where a group is a single sample).
    """
    groups = [np.asarray(g, "float64")[:, part] for g in groups]
    if all(len(g) == 1 for g in groups):
        groups, updates = [np.concatenate(groups)], len(groups)
    else:
        updates = len(groups)
    samples = np.concatenate(groups)
    n = len(samples)
    degrees = n - len(groups)
    variances = sum(len(g) * g.var(axis=0) for g in groups) / degrees
    mean = samples.mean(axis=0)
    noise = variances.sum()
    signal = mean @ mean - noise / n
    result = {
        "noise": noise,
        "signal": signal,
        "snr": signal / (noise / (n / updates)),
        "noise_scale": noise / signal if signal > 0 else math.nan,
        "gsnr": np.mean(mean**2 / variances) * (degrees - 2) / degrees - 1 / n,
        "evidence": 1 - n * np.mean(mean**2 / variances) * (degrees - 2) / degrees,
    }
    if degrees < 5:
        result["gsnr"] = math.nan
        result["evidence"] = 1 - n * np.sum(mean**2) / noise
    if len(groups) == 1:
        squares = np.sum(samples**2)
        result["diversity"] = squares / np.sum(samples.sum(axis=0) ** 2)
    return result


def check(moments, groups):
    read = moments.read()
    assert read["samples"] == sum(map(len, groups))
    found = [read["global"], *read["per_weight"].values()]
    assert list(read["per_weight"]) == ["a", "b"]
    parts = (slice(None), slice(SPLIT), slice(SPLIT, None))
    for values, part in zip(found, parts, strict=True):
        for name, value in expected(groups, part).items():
            assert values[name] == pytest.approx(value, rel=1e-3, nan_ok=True), name


def pipeline(moments, accumulation_steps=1, rate=0.0):
    a = keras.Variable(np.zeros(SPLIT), dtype="float32", name="a")
    b = keras.Variable(np.zeros((DIMENSION - SPLIT, 1)), dtype="float32", name="b")
    optimizer = GradientPipeline(
        keras.optimizers.SGD(rate),
        accumulation_steps=accumulation_steps,
        signals=[moments],
    )
    optimizer.build([a, b])
    return optimizer, [a, b]


def run(moments, gradients, accumulation_steps=1, jit_compile=False):
    """Feeds gradients one by one to a pipeline whose learning rate is 0."""
    optimizer, variables = pipeline(moments, accumulation_steps)

    @tf.function(autograph=False, jit_compile=jit_compile)
    def step(gradient):
        optimizer.apply([gradient[:SPLIT], gradient[SPLIT:, None]], variables)

    for gradient in gradients:
        step(tf.constant(gradient))


def replicated_step(strategy, moments, accumulation_steps):
    """Feeds gradients of two replicas, of shape (replica, dimension)."""
    with strategy.scope():
        optimizer, variables = pipeline(moments, accumulation_steps)

    @tf.function(autograph=False)
    def step(gradients):
        def on_replica():
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            # In `fit`, the loss of a replica is divided by their number.
            gradient = tf.gather(gradients, replica) / 2.0
            optimizer.apply([gradient[:SPLIT], gradient[SPLIT:, None]], variables)

        strategy.run(on_replica)

    return step


def replicated(strategy, moments, gradients, accumulation_steps=1):
    """Feeds gradients, of shape (step, replica, dimension), to two replicas."""
    step = replicated_step(strategy, moments, accumulation_steps)
    for gradient in gradients:
        step(tf.constant(gradient))


# Against the definitions, in float64.


@pytest.mark.parametrize("jit_compile", [False, True])
def test_successive_updates(jit_compile):
    moments = GradientMoments(window=9)
    gradients = sampled(20)
    run(moments, gradients, 1, jit_compile)
    assert moments.read()["windows"] == 2
    check(moments, gradients[9:18, None])


@pytest.mark.parametrize("jit_compile", thorough_but({False}, [False, True]))
@pytest.mark.parametrize("window", [8, 9])
def test_micro_batches(window, jit_compile):
    moments = GradientMoments(window)
    gradients = sampled(5, 8)
    run(moments, gradients.reshape(40, -1), 8, jit_compile)
    check(moments, gradients[4:] if window == 8 else gradients[2:4])


def test_replicas(strategies):
    moments = GradientMoments(window=16)
    gradients = sampled(10, 2)
    replicated(strategies(2), moments, gradients)
    check(moments, gradients[:8])


@pytest.mark.thorough(LONG)
def test_micro_batches_on_replicas(strategies):
    moments = GradientMoments(window=12)
    gradients = sampled(2, 4, 2)
    replicated(strategies(2), moments, gradients.reshape(8, 2, -1), 4)
    check(moments, gradients.reshape(2, 8, -1))


def test_a_number_of_micro_batches_that_changes():
    moments = GradientMoments(window=8)
    steps = HyperVariable(5, "accumulation_steps", bounds=(1, 8), dtype="int32")
    optimizer, variables = pipeline(moments, steps)
    gradients = sampled(8)
    for i, gradient in enumerate(gradients):
        if i == 5:
            steps.assign(3)
        parts = [tf.constant(gradient[:SPLIT]), tf.constant(gradient[SPLIT:, None])]
        optimizer.apply(parts, variables)
    check(moments, [gradients[:5], gradients[5:]])


def test_a_small_window_has_the_ratio_of_sums_for_evidence():
    moments = GradientMoments(window=5)
    gradients = sampled(5)
    run(moments, gradients)
    check(moments, gradients[:, None])


def test_the_way_of_the_true_gradient_is_no_noise_between_micro_batches():
    # The true gradient of the second update is far from that of the first one.
    gradients = np.concatenate([sampled(1, 8), sampled(1, 8, mean=MEAN + 5.0)])
    moments = GradientMoments(window=16)
    run(moments, gradients.reshape(16, -1), 8)
    check(moments, gradients)


def test_measures_a_window_every_so_many_updates():
    moments = GradientMoments(window=6, every=10)
    gradients = sampled(18)
    run(moments, gradients)
    assert moments.read()["windows"] == 2
    check(moments, gradients[10:16, None])


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_window_that_ends_when_it_is_read(replicas, strategies):
    moments = GradientMoments(window=None)
    strategy = strategies(replicas)
    with strategy.scope():
        optimizer, variables = pipeline(moments)

    @tf.function(autograph=False)
    def step(gradient):
        parts = [gradient[:SPLIT], gradient[SPLIT:, None]]
        strategy.run(lambda: optimizer.apply([g / replicas for g in parts], variables))

    gradients = sampled(9)
    for part in (gradients[:4], gradients[4:8], gradients[8:]):
        for gradient in part:
            step(tf.constant(gradient))
        read = moments.read()
        if replicas == 1 and len(part) > 1:
            assert read["global"]["noise"] == pytest.approx(
                expected(part[:, None])["noise"], rel=1e-4
            )
        elif replicas == 2:  # both have the same samples
            assert read["samples"] == 2 * len(part)
            assert read["global"]["noise"] == pytest.approx(0.0, abs=1e-4)
    assert read["windows"] == (2 if replicas == 1 else 3)


# Against the truth of a noisy quadratic, by many windows. Four standard errors are not
# exceeded once in ten thousand seeds.

TRUTH = {
    "noise": VARIANCES.sum(),
    "signal": MEAN @ MEAN,
    "gsnr": np.mean(MEAN**2 / VARIANCES),
}


@functools.cache
def window_of_eight(accumulation_steps):
    """The moments of a pipeline, and a function that feeds it a window."""
    moments = GradientMoments(8)
    optimizer, variables = pipeline(moments, accumulation_steps)

    @tf.function(autograph=False, jit_compile=True)
    def window(gradients):
        for gradient in tf.unstack(gradients, 8):
            optimizer.apply([gradient[:SPLIT], gradient[SPLIT:, None]], variables)

    return moments, window


def windows_of(gradients, accumulation_steps=1):
    """What is read after every window of gradients, 8 in each."""
    moments, window = window_of_eight(accumulation_steps)
    found = []
    for some in gradients:
        window(tf.constant(some))
        found.append(moments.read()["global"])
    return found


def check_unbiased(found):
    for name, truth in TRUTH.items():
        values = [values[name] for values in found]
        error = np.std(values, ddof=1) / math.sqrt(len(values))
        assert error < 0.15 * truth
        assert np.mean(values) == pytest.approx(truth, abs=4 * error), name
    trace = 2 * np.sum(VARIANCES**2)
    degrees = trace / np.var([values["noise"] for values in found])
    assert degrees == pytest.approx(7, rel=0.3)  # as chi-squared says, of 8 samples


@pytest.mark.parametrize("accumulation_steps", [1, 8])
@pytest.mark.thorough(LONG)
def test_no_bias(accumulation_steps):
    check_unbiased(windows_of(sampled(300, 8), accumulation_steps))


@pytest.mark.thorough(STATISTICS)
def test_no_bias_from_replicas_with_micro_batches(strategies):
    found = []
    moments = GradientMoments(8)
    step = replicated_step(strategies(2), moments, 4)
    for gradients in sampled(150, 4, 2):
        for gradient in gradients:
            step(tf.constant(gradient))
        found.append(moments.read()["global"])
    check_unbiased(found)


def test_evidence_is_zero_on_average_without_a_gradient():
    # The mean of the uncorrected criterion would be 1 - 7 / 5.
    null = sampled(300, 8, mean=0.0)
    found = [values["evidence"] for values in windows_of(null)]
    error = np.std(found, ddof=1) / math.sqrt(len(found))
    assert error < 0.06
    assert np.mean(found) == pytest.approx(0.0, abs=4 * error)


@pytest.mark.thorough(LONG)
def test_a_noisy_quadratic_while_fitting():
    # Samples x around c, and the loss |w - x|**2 / 2: the gradient w - x has mean w - c
    # and the covariance of x, and a micro-batch of 4 has a quarter of it.
    rng = np.random.default_rng(0)
    scale = np.array([1.0, 2.0])
    x = rng.normal(0.0, scale, (4 * 500, 2)).astype("float32")
    start = np.array([1.0, -0.5], "float32")

    class Offset(keras.layers.Layer):
        def build(self, input_shape):
            self.w = self.add_weight(shape=(2,), initializer="zeros", name="w")

        def call(self, inputs):
            return self.w - inputs

    model = keras.Sequential([keras.Input((2,)), Offset()])
    model.layers[0].w.assign(start)
    moments = GradientMoments(window=500)
    pipeline = GradientPipeline(keras.optimizers.SGD(0.0), signals=[moments])
    model.compile(
        pipeline, loss=lambda y, offset: keras.ops.sum(offset**2, axis=-1) / 2
    )
    model.fit(x, np.zeros((len(x), 1)), batch_size=4, verbose=0)
    read = moments.read()["global"]
    variances = scale**2 / 4
    noise, signal = variances.sum(), start @ start
    noise_error = math.sqrt(2 * np.sum(variances**2) / 499)
    signal_error = math.sqrt(4 * np.sum(start**2 * variances) / 500)
    assert read["noise"] == pytest.approx(noise, abs=4 * noise_error)
    assert read["signal"] == pytest.approx(signal, abs=4 * signal_error)
    assert read["noise_scale"] == pytest.approx(noise / signal, rel=0.4)


# Edges.


def test_nothing_before_the_first_window():
    moments = GradientMoments(window=4)
    unbuilt = moments.read()
    assert unbuilt["per_weight"] == {}
    run(moments, sampled(3))
    for read in (unbuilt, moments.read()):
        assert all(math.isnan(v) for v in read["global"].values())
        assert read["samples"] == read["windows"] == 0
    assert math.isnan(moments.read()["per_weight"]["b"]["noise"])


def test_elements_that_do_not_vary_are_left_out():
    # Half of the second weight are rows of an embedding that no batch has, and one
    # number has the gradient of a penalty alone.
    moments = GradientMoments(window=8)
    gradients = sampled(8)
    gradients[:, 20:] = 0.0
    gradients[:, 19] = 0.3
    run(moments, gradients)
    read = moments.read()["global"]
    assert read["evidence"] == pytest.approx(
        expected(gradients[:, None], slice(19))["evidence"], rel=1e-3
    )


def test_no_gradient_at_all_is_no_evidence():
    moments = GradientMoments(window=8)
    run(moments, np.zeros((8, DIMENSION), "float32"))
    read = moments.read()["global"]
    assert read["noise"] == read["signal"] == 0.0
    others = ("snr", "noise_scale", "gsnr", "diversity", "evidence")
    assert all(math.isnan(read[name]) for name in others)


def test_a_weight_without_a_gradient():
    moments = GradientMoments(window=6)
    optimizer, variables = pipeline(moments, 3)
    gradients = sampled(6)
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient[:SPLIT]), None], variables)
    read = moments.read()
    assert read["per_weight"]["b"]["noise"] == 0.0
    assert math.isnan(read["per_weight"]["b"]["evidence"])
    part = expected(gradients.reshape(2, 3, -1), slice(SPLIT))
    assert read["global"]["noise"] == pytest.approx(part["noise"], rel=1e-4)


def test_an_update_that_is_skipped_is_not_measured():
    moments = GradientMoments(window=6)
    gradients = sampled(7)
    gradients[3, 0] = np.nan
    run(moments, gradients)
    check(moments, np.delete(gradients, 3, axis=0)[:, None])


@pytest.mark.parametrize("accumulation_steps", [1, 2])
def test_float16_gradients_are_squared_in_float32(accumulation_steps):
    moments = GradientMoments(window=6)
    optimizer = GradientPipeline(
        keras.optimizers.SGD(0.0),
        accumulation_steps=accumulation_steps,
        signals=[moments],
    )
    weight = keras.Variable(np.zeros(2), dtype="float16", name="weight")
    values = np.array([[600.0, 1e-4], [500.0, 2e-4]] * 3, "float16")
    for value in values:
        optimizer.apply([tf.constant(value)], [weight])
    read = moments.read()["per_weight"]["weight"]
    groups = values.reshape(-1, accumulation_steps, 2).astype("float64")
    assert read["noise"] == pytest.approx(expected(groups)["noise"], rel=1e-3)


def test_a_small_variance_survives_a_large_mean():
    moments = GradientMoments(window=8)
    gradients = 1.0 + 1e-2 * sampled(8)
    run(moments, gradients)
    check(moments, gradients[:, None])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"window": 1},
            "`window` must be an integer >= 2 or None. Received: window=1.",
        ),
        ({"every": 0}, "`every` must be an integer >= 1. Received: every=0."),
    ],
)
def test_rejects_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        GradientMoments(**kwargs)
