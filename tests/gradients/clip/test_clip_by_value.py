"""Clipping elements, against optax and Keras."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.gradients import ClipByValue
from keras_ext.optimizers import GradientPipeline
from tests.streams import (
    FIXTURES,
    STREAM,
    assert_equal_streams,
    assert_moves_as,
    transformed,
)
from tests.thorough import LONG

OPTAX = dict(np.load(FIXTURES / "clip_by_norm.npz"))


def test_equals_optax_over_a_stream_of_gradients():
    expected = {name: OPTAX[f"value/{name}"] for name in STREAM}
    assert_equal_streams(transformed(ClipByValue(1.5)), expected, rtol=0)


@pytest.mark.thorough(LONG)
def test_equals_the_clipvalue_of_keras():
    ours = GradientPipeline(keras.optimizers.SGD(0.01), [ClipByValue(0.3)])
    oracle = keras.optimizers.SGD(0.01, clipvalue=0.3)
    assert_moves_as(ours, oracle, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_gradients_keep_their_type(dtype):
    weight = keras.Variable(np.zeros(4), dtype=dtype, name="weight")
    # More than float16 holds: then nothing is to be clipped.
    for limit, largest in ((2.0, 2.0), (1e6, 60000.0)):
        clip = ClipByValue(limit)
        clip.build([weight], {})
        gradient = tf.constant([-60000.0, -1.0, 0.0, 60000.0], dtype)
        (clipped,) = clip([gradient], [weight])
        assert clipped.dtype == dtype
        expected = tf.cast([-largest, -1.0, 0.0, largest], dtype)
        np.testing.assert_array_equal(
            tf.cast(clipped, "float32"), tf.cast(expected, "float32")
        )


def test_the_limit_can_change_while_training():
    clip = ClipByValue(2.0)
    optimizer = GradientPipeline(keras.optimizers.SGD(1.0), [clip])
    weight = keras.Variable([0.0], name="weight")
    optimizer.build([weight])

    @tf.function(autograph=False)
    def step():
        optimizer.apply([tf.constant([8.0])], [weight])

    step()
    clip.max_value.assign(0.5)
    step()
    assert weight.numpy().item() == -2.5


@pytest.mark.parametrize("value", [-1, True, "1", None])
def test_rejects_bad_arguments(value):
    message = f"`max_value` must be a number >= 0. Received: max_value={value!r}."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ClipByValue(value)
