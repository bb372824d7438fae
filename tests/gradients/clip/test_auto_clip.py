"""Percentiles of the norms so far, against NumPy."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.gradients import AutoClip
from keras_ext.optimizers import GradientPipeline
from tests.streams import STREAM, assert_equal_streams, norms_of, transformed
from tests.thorough import LONG, thorough_but

GLOBAL_NORMS = np.sqrt(sum(norms_of(g) ** 2 for g in STREAM.values()))


def limits_of(norms, percentile, history):
    """The limit of each update by `numpy.percentile`; zeros do not count."""
    limits = []
    for t in range(len(norms)):
        known = norms[max(0, t + 1 - history) : t + 1]
        known = known[known > 0]
        limits.append(np.percentile(known, percentile) if len(known) else 0.0)
    return np.array(limits)


def clipped_by(limits, norms, gradients):
    factors = np.minimum(1.0, limits / np.where(norms > 0, norms, 1.0))
    return gradients * factors.reshape(-1, *[1] * (gradients.ndim - 1))


# Where a percentile is between two norms or at the end of them, and where the history
# is full at once, in the middle, at the last gradient of the stream, and never.
@pytest.mark.parametrize(
    ("percentile", "history"),
    [(50.0, 1), (0.0, 7), (37.5, 7), (10.0, 50), (100.0, 50), (95.0, 1000)],
)
def test_equals_numpy_over_a_stream_of_gradients(percentile, history):
    limits = limits_of(GLOBAL_NORMS, percentile, history)
    expected = {n: clipped_by(limits, GLOBAL_NORMS, g) for n, g in STREAM.items()}
    assert_equal_streams(transformed(AutoClip(percentile, history=history)), expected)


@pytest.mark.parametrize("jit_compile", thorough_but({False}, [False, True]))
def test_each_weight_has_a_history_of_its_own(jit_compile):
    expected = {}
    for name, gradients in STREAM.items():
        norms = norms_of(gradients)
        expected[name] = clipped_by(limits_of(norms, 25.0, 9), norms, gradients)
    clip = AutoClip(25.0, history=9, per="tensor")
    assert_equal_streams(transformed(clip, jit_compile=jit_compile), expected)


def test_units_have_histories_of_their_own():
    kernels = STREAM["hidden/kernel"]
    expected = np.empty_like(kernels)
    for unit in range(kernels.shape[2]):
        column = kernels[:, :, unit]
        norms = norms_of(column)
        limits = limits_of(norms, 10.0, 20)
        expected[:, :, unit] = clipped_by(limits, norms, column)
    stream = {"hidden/kernel": kernels}
    clipped = transformed(AutoClip(10.0, history=20, per="unit"), stream)
    assert_equal_streams(clipped, {"hidden/kernel": expected})


@pytest.mark.thorough(LONG)
def test_is_exact_to_the_last_place_in_a_long_history():
    """The rank is a number of seven digits: `float32` would not do for it."""
    rng = np.random.default_rng(0)
    norms = np.float32(np.exp(rng.normal(scale=5.0, size=700)))
    stream = {"weight": norms.reshape(-1, 1)}
    clip = AutoClip(99.9, history=600)
    clipped = transformed(clip, stream, {"weight": np.zeros(1, "float32")})["weight"]
    # The percentile as the device has it.
    limits = limits_of(np.float64(norms), np.float64(np.float32(99.9)), 600)
    np.testing.assert_allclose(clipped[:, 0], np.minimum(norms, limits), rtol=1e-6)


def test_the_first_gradient_is_never_clipped():
    clipped = transformed(AutoClip(0.0))
    for name, gradients in STREAM.items():
        np.testing.assert_array_equal(clipped[name][0], gradients[0])


def test_a_weight_that_wakes_up_is_not_held_at_zero():
    stream = {"weight": np.float32([[0.0]] * 30 + [[4.0]] * 5)}
    weights = {"weight": np.zeros(1, "float32")}
    clipped = transformed(AutoClip(10.0, per="tensor"), stream, weights)["weight"]
    np.testing.assert_array_equal(clipped, stream["weight"])


def test_updates_that_are_not_made_are_not_remembered():
    clip = AutoClip(50.0)
    optimizer = GradientPipeline(keras.optimizers.SGD(1.0), [clip])
    weight = keras.Variable([0.0], name="weight")
    for gradient in (1.0, np.nan, np.inf, 3.0):
        optimizer.apply([tf.constant([gradient])], [weight])
    # The median of 1 and 3.
    assert weight.numpy().item() == pytest.approx(-3.0)
    assert optimizer.nonfinite_steps == 2


def test_the_percentile_can_change_while_training():
    clip = AutoClip(0.0)
    optimizer = GradientPipeline(keras.optimizers.SGD(1.0), [clip])
    weight = keras.Variable([0.0], name="weight")
    optimizer.build([weight])

    @tf.function(autograph=False)
    def step(gradient):
        optimizer.apply([gradient], [weight])

    step(tf.constant([1.0]))
    step(tf.constant([9.0]))
    assert weight.numpy().item() == -2.0
    clip.percentile.assign(100.0)
    step(tf.constant([10.0]))
    assert weight.numpy().item() == -12.0


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"percentile": 101},
            "`percentile` must be a number in [0, 100]. Received: percentile=101.",
        ),
        (
            {"percentile": -0.1},
            "`percentile` must be a number in [0, 100]. Received: percentile=-0.1.",
        ),
        ({"history": 0}, "`history` must be an integer >= 1. Received: history=0."),
        ({"history": 9.0}, "`history` must be an integer >= 1. Received: history=9.0."),
    ],
)
def test_rejects_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        AutoClip(**kwargs)
