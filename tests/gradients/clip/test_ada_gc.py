"""Clipping by averages, against the optimizer of that name in another library."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.gradients import AdaGC
from keras_ext.optimizers import GradientPipeline
from tests.streams import FIXTURES, STREAM, assert_equal_streams, transformed
from tests.thorough import LONG, thorough_but

REFERENCE = dict(np.load(FIXTURES / "ada_gc.npz"))
# Those of make_ada_gc.py.
SETTINGS = {"absolute": 5.0, "relative": 1.1, "smoothing": 0.9, "warmup_steps": 8}


def norms_after(clip, norms):
    """The norms after clipping of one weight whose gradients have these norms."""
    stream = {"weight": np.float32(norms).reshape(-1, 1)}
    return transformed(clip, stream, {"weight": np.zeros(1, "float32")})["weight"][:, 0]


@pytest.mark.parametrize("jit_compile", thorough_but({False}, [False, True]))
def test_equals_the_reference_over_a_stream_of_gradients(jit_compile):
    clip = AdaGC(**SETTINGS, epsilon=0.0)
    assert_equal_streams(transformed(clip, jit_compile=jit_compile), REFERENCE)


def test_the_stream_has_what_it_is_for():
    """In the reference every part of the rule is at work."""
    for name, gradients in STREAM.items():
        clipped = np.any(
            REFERENCE[name] != gradients, axis=(*range(1, gradients.ndim),)
        )
        assert clipped[:8].any()
        assert not clipped[:8].all()
        assert clipped[8:].any()
        assert not clipped[8:].all()


def test_one_weight_with_a_spike_leaves_the_others_alone():
    clipped = transformed(AdaGC(**SETTINGS))
    calm = dict(STREAM)
    calm["head/kernel"] = STREAM["head/kernel"].copy()
    calm["head/kernel"][33] *= 1e-6
    expected = transformed(AdaGC(**SETTINGS), calm)
    for name in ("hidden/kernel", "hidden/bias"):
        np.testing.assert_array_equal(clipped[name], expected[name])
    assert np.linalg.norm(clipped["head/kernel"][33]) < 5.0


def test_the_joint_norm_counts_in_the_warm_up():
    weights = [keras.Variable([0.0], name=name) for name in "ab"]
    clip = AdaGC(absolute=1.0)
    clip.build(weights, {})
    clipped = clip([tf.constant([30.0]), tf.constant([40.0])], weights)
    np.testing.assert_allclose([c[0] for c in clipped], [0.6, 0.8], rtol=1e-6)


def test_zero_gradients_leave_the_average_as_it_is():
    norms = [1.0, 0.9, *[0.0] * 500, 5.0]
    after = norms_after(AdaGC(relative=2.0, smoothing=0.9, warmup_steps=2), norms)
    np.testing.assert_allclose(after[-1], 1.8, rtol=1e-6)


@pytest.mark.parametrize("warmup_steps", [0, 5])
def test_a_weight_that_wakes_up_after_the_warm_up_is_not_locked(warmup_steps):
    norms = [0.0] * 10 + [7.0, 7.0]
    after = norms_after(AdaGC(absolute=3.0, warmup_steps=warmup_steps), norms)
    # First it is clipped as in the warm-up, then by its own norm.
    np.testing.assert_allclose(after[-2:], [3.0, 3.0 * 1.05], rtol=1e-6)


def test_a_weight_with_next_to_no_gradient_in_the_warm_up_is_not_locked():
    norms = [1e-12] * 100 + [0.5] * 20
    after = norms_after(AdaGC(epsilon=0.01), norms)
    # The floor is a hundredth of `absolute`.
    np.testing.assert_allclose(after[100:], 1.05 * 0.01, rtol=1e-6)
    locked = norms_after(AdaGC(epsilon=0.0), norms)
    assert locked[-1] < 1e-11


def test_the_floor_is_shared_by_the_weights():
    weights = [keras.Variable([0.0], name=name) for name in "abcd"]
    clip = AdaGC(relative=1.0, warmup_steps=1, epsilon=0.01)
    clip.build(weights, {})
    for size in (1e-9, 1.0):
        clipped = clip([tf.constant([size])] * 4, weights)
    np.testing.assert_allclose([c[0] for c in clipped], 0.01 / 2, rtol=1e-6)


@pytest.mark.thorough(LONG)
def test_the_limit_of_growing_gradients_follows_slowly():
    """As documented: twice as much in about 700 updates."""
    after = norms_after(AdaGC(warmup_steps=1), [1.0, *[100.0] * 701])
    assert after[-1] / after[1] == pytest.approx(2.0, rel=0.02)


def test_thresholds_can_change_while_training():
    clip = AdaGC(absolute=1.0, relative=2.0, smoothing=0.0, warmup_steps=1)
    optimizer = GradientPipeline(keras.optimizers.SGD(1.0), [clip])
    weight = keras.Variable([0.0], name="weight")
    optimizer.build([weight])

    @tf.function(autograph=False)
    def step():
        optimizer.apply([tf.constant([100.0])], [weight])
        return weight.value

    clip.absolute.assign(3.0)
    np.testing.assert_allclose(step(), [-3.0], rtol=1e-6)
    clip.relative.assign(4.0)
    np.testing.assert_allclose(step(), [-15.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"absolute": 0}, "`absolute` must be a number > 0. Received: absolute=0."),
        ({"relative": -1}, "`relative` must be a number > 0. Received: relative=-1."),
        ({"smoothing": 1.0}, "`smoothing` must be a number in [0, 1). Received: "),
        (
            {"warmup_steps": 1.5},
            "`warmup_steps` must be an integer >= 0. Received: warmup_steps=1.5.",
        ),
        ({"epsilon": -1}, "`epsilon` must be a number >= 0. Received: epsilon=-1."),
    ],
)
def test_rejects_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        AdaGC(**kwargs)
