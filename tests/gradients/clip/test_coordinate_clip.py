"""Coordinate-wise clipping against the sums that its averages stand for."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.gradients import CoordinateClip
from tests.streams import STREAM, assert_equal_streams, transformed
from tests.thorough import LONG


def average(values, beta):
    """The exponential averages from zero, as the weighted sums that they are."""
    ages = np.subtract.outer(np.arange(len(values)), np.arange(len(values)))
    shares = np.where(ages >= 0, (1 - beta) * beta ** np.maximum(ages, 0), 0.0)
    return np.tensordot(shares, values, axes=1)


def expected_of(gradients, beta_1=0.9, beta_2=0.99, alpha=1.0, epsilon=1e-5):
    """Equation (ACClip) of Zhang et al., 2020, in float64."""
    gradients = np.float64(gradients)
    momentum = average(gradients, beta_1)
    threshold = average(np.abs(gradients) ** alpha, beta_2) ** (1 / alpha)
    return np.minimum(threshold / (np.abs(momentum) + epsilon), 1.0) * momentum


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"alpha": 1.5},
        {"alpha": 2.0, "beta_1": 0.0},
        {"beta_1": 0.5, "beta_2": 0.7, "epsilon": 0.1},
    ],
)
@pytest.mark.thorough(LONG)
def test_equals_the_paper_over_a_stream_of_gradients(settings, jit_compile):
    expected = {name: expected_of(g, **settings) for name, g in STREAM.items()}
    actual = transformed(CoordinateClip(**settings), jit_compile=jit_compile)
    assert_equal_streams(actual, expected)


def test_a_spike_moves_one_coordinate_by_its_threshold():
    gradients = np.ones((200, 2), "float32")
    gradients[-1, 0] = 1e6
    stream, weights = {"weight": gradients}, {"weight": np.zeros(2, "float32")}
    clipped = transformed(CoordinateClip(), stream, weights)["weight"]
    # The threshold takes in a hundredth of the spike, and the momentum a tenth.
    assert clipped[-1, 0] == pytest.approx(0.01 * 1e6, rel=1e-3)
    assert clipped[-1, 1] == pytest.approx(clipped[-2, 1], rel=0.01)


def test_the_first_updates_are_small_as_documented():
    stream = {"weight": np.ones((300, 1), "float32")}
    clipped = transformed(CoordinateClip(), stream, {"weight": np.zeros(1, "float32")})
    lengths = clipped["weight"][:, 0]
    assert lengths[0] == pytest.approx(0.01, rel=1e-3)
    assert 0.6 < lengths[100] < 0.7
    assert lengths[-1] > 0.95


def test_weights_without_a_gradient_keep_their_averages():
    weights = [keras.Variable([0.0], name=name) for name in "ab"]
    clip = CoordinateClip()
    clip.build(weights, {})
    one = tf.constant([1.0])
    both = clip([one, one], weights)
    clip([one], weights[:1])
    later = clip([one], weights[1:])
    twice = expected_of(np.ones((2, 1)))
    np.testing.assert_allclose([both[1], later[0]], twice, rtol=1e-6)


def test_averages_of_float16_are_kept_in_float32():
    weight = keras.Variable(np.zeros(1), dtype="float16", name="weight")
    clip = CoordinateClip()
    clip.build([weight], {})
    gradients = np.array([6e-5, 60000.0, 60000.0, 3e-4], "float16").reshape(-1, 1)
    results = [clip([tf.constant(g)], [weight])[0] for g in gradients]
    assert all(r.dtype == "float16" for r in results)
    np.testing.assert_allclose(
        np.float64(np.stack(results)), expected_of(gradients), rtol=1e-3, atol=1e-7
    )
    assert [v.dtype for v in clip.state] == ["float32"] * 2


def test_only_chosen_weights_cost_memory():
    weights = [keras.Variable(np.zeros(3), name=name) for name in ("kernel", "bias")]
    clip = CoordinateClip(exclude="bias")
    clip.build(weights, {})
    assert [v.name for v in clip.state] == ["kernel_momentum", "kernel_power"]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"beta_1": 1}, "`beta_1` must be a number in [0, 1). Received: beta_1=1."),
        ({"beta_2": -1}, "`beta_2` must be a number in [0, 1). Received: beta_2=-1."),
        ({"alpha": 0.9}, "`alpha` must be a number in [1, 2]. Received: alpha=0.9."),
        ({"epsilon": 0}, "`epsilon` must be a number > 0. Received: epsilon=0."),
    ],
)
def test_rejects_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        CoordinateClip(**kwargs)
