"""Clipping of outliers, against the code of the authors."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.gradients import ZClip
from keras_ext.optimizers import GradientPipeline
from tests.streams import FIXTURES, STREAM, assert_equal_streams, transformed

AUTHORS = dict(np.load(FIXTURES / "z_clip.npz"))
# Those of make_z_clip.py.
LARGE = {name: np.float32(1000) * gradients for name, gradients in STREAM.items()}
SETTINGS = {"smoothing": 0.9, "z_threshold": 2.0, "warmup_steps": 8}
RUNS = {
    "adaptive": {"max_norm": None},
    "mean": {"max_norm": None, "rule": "mean"},
    "max_norm": {"max_norm": 4000.0},
}


def norms_after(clip, norms):
    """The norms after clipping of one weight whose gradients have these norms."""
    stream = {"weight": np.float32(norms).reshape(-1, 1)}
    return transformed(clip, stream, {"weight": np.zeros(1, "float32")})["weight"][:, 0]


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("per", ["global", "tensor"])
@pytest.mark.parametrize("run", RUNS)
def test_equals_the_authors_over_a_stream_of_gradients(run, per, jit_compile):
    expected = {name: AUTHORS[f"{run}/{per}/{name}"] for name in STREAM}
    clip = ZClip(**SETTINGS, **RUNS[run], per=per)
    assert_equal_streams(transformed(clip, LARGE, jit_compile=jit_compile), expected)


def test_the_stream_has_what_it_is_for():
    """In the fixture some updates of each kind are clipped, and most are not."""
    for name, gradients in LARGE.items():
        axes = tuple(range(1, gradients.ndim))
        for run in ("adaptive", "mean"):
            clipped = np.any(AUTHORS[f"{run}/tensor/{name}"] != gradients, axis=axes)
            assert not clipped[:8].any()
            assert 1 <= clipped.sum() < 25


def test_ordinary_gradients_keep_every_bit():
    rng = np.random.default_rng(0)
    norms = np.float32(rng.uniform(0.9, 1.1, size=100))
    np.testing.assert_array_equal(norms_after(ZClip(max_norm=None), norms), norms)


def test_the_further_out_the_shorter():
    ordinary = [4.0, 6.0] * 10
    settings = {"warmup_steps": 20, "max_norm": None}
    ends = [norms_after(ZClip(**settings), [*ordinary, n])[-1] for n in (8.0, 9.0, 1e6)]
    # Mean 5, deviation 1: 5 + 2.5**2 / z.
    expected = [5 + 6.25 / 3, 5 + 6.25 / 4, 5.0]
    np.testing.assert_allclose(ends, expected, rtol=1e-5)


def test_in_the_warm_up_only_the_largest_norm_counts():
    norms = [0.5, 100.0, 0.5, 0.5]
    after = norms_after(ZClip(), norms)
    np.testing.assert_allclose(after, [0.5, 1.0, 0.5, 0.5], rtol=1e-6)
    np.testing.assert_array_equal(norms_after(ZClip(max_norm=None), norms), norms)


def test_zero_gradients_say_nothing():
    norms = np.array([4.0, 6.0, 4.0, 6.0, 7.0, 30.0, 5.0, 40.0])
    gaps = np.zeros((len(norms), 3))
    gaps[:, 0] = norms
    settings = {"warmup_steps": 4, "max_norm": None}
    with_zeros = norms_after(ZClip(**settings), gaps.ravel())
    np.testing.assert_array_equal(
        with_zeros.reshape(gaps.shape)[:, 0], norms_after(ZClip(**settings), norms)
    )
    assert with_zeros[-3] < 10


def test_thresholds_can_change_while_training():
    clip = ZClip(z_threshold=100.0, warmup_steps=2, max_norm=50.0)
    optimizer = GradientPipeline(keras.optimizers.SGD(1.0), [clip])
    weight = keras.Variable([0.0], name="weight")
    optimizer.build([weight])

    @tf.function(autograph=False)
    def step(gradient):
        before = tf.identity(weight.value)
        optimizer.apply([gradient], [weight])
        return before - weight.value

    for gradient in (4.0, 6.0):
        step(tf.constant([gradient]))
    clip.max_norm.assign(20.0)
    np.testing.assert_allclose(step(tf.constant([90.0])), [20.0], rtol=1e-6)
    clip.z_threshold.assign(0.5)
    assert step(tf.constant([90.0]))[0] < 15.0


def test_the_config_knows_a_missing_largest_norm():
    for max_norm in (None, 3.0):
        config = ZClip(max_norm=max_norm).get_config()
        assert config["max_norm"] == max_norm
        assert ZClip.from_config(config).get_config() == config


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"z_threshold": 0},
            "`z_threshold` must be a number > 0. Received: z_threshold=0.",
        ),
        ({"smoothing": 1}, "`smoothing` must be a number in [0, 1). Received: "),
        (
            {"warmup_steps": 1},
            "`warmup_steps` must be an integer >= 2. Received: warmup_steps=1.",
        ),
        (
            {"max_norm": -1},
            "`max_norm` must be a number >= 0 or None. Received: max_norm=-1.",
        ),
        (
            {"rule": "median"},
            '`rule` must be "adaptive" or "mean". Received: rule=\'median\'.',
        ),
    ],
)
def test_rejects_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        ZClip(**kwargs)
