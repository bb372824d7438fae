"""Clipping of updates, against optax."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.gradients import ClipUpdateRMS
from keras_ext.optimizers import GradientPipeline
from tests.streams import FIXTURES, STREAM, WEIGHTS, variables_of
from tests.thorough import thorough_but

OPTAX = dict(np.load(FIXTURES / "clip_by_norm.npz"))


def adam():
    """That of make_clip_by_norm.py."""
    return keras.optimizers.Adam(0.125, beta_1=0.875, beta_2=0.75, epsilon=1e-30)


def run(optimizer, **function_options):
    """The weights after each update, as a dictionary like the stream."""
    variables = variables_of(WEIGHTS)
    optimizer.build(variables)

    @tf.function(autograph=False, **function_options)
    def step(*gradients):
        optimizer.apply(gradients, variables)

    history = []
    for gradients in zip(*STREAM.values(), strict=True):
        step(*map(tf.constant, gradients))
        history.append([v.numpy() for v in variables])
    columns = zip(*history, strict=True)
    return dict(zip(STREAM, map(np.stack, columns), strict=True))


@pytest.mark.parametrize("jit_compile", thorough_but({False}, [False, True]))
def test_adam_moves_as_with_optax_over_a_stream_of_gradients(jit_compile):
    optimizer = GradientPipeline(adam(), [ClipUpdateRMS(0.3)])
    weights = run(optimizer, jit_compile=jit_compile)
    for name, actual in weights.items():
        expected = OPTAX[f"rms/{name}"]
        # Rounding of the weight adds up in fifty updates.
        tolerance = 2e-6 * np.abs(expected).max()
        np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


def test_the_stream_has_what_it_is_for():
    """Some updates are clipped and some are not, of every weight."""
    for weights in run(adam()).values():
        moves = np.diff(weights.reshape(50, -1), axis=0) / 0.125
        rms = np.sqrt(np.mean(moves**2, axis=1))
        assert 10 < np.sum(rms > 0.3) < 40


def test_updates_within_the_limit_keep_every_bit():
    plain = run(keras.optimizers.SGD(1e-3, momentum=0.9))
    limited = run(
        GradientPipeline(
            keras.optimizers.SGD(1e-3, momentum=0.9), [ClipUpdateRMS(1e10)]
        )
    )
    for name, weights in plain.items():
        np.testing.assert_array_equal(limited[name], weights)


def test_weight_decay_is_part_of_the_update():
    weight = keras.Variable([4.0, 4.0], name="weight")
    inner = keras.optimizers.SGD(0.5, weight_decay=0.5)
    optimizer = GradientPipeline(inner, [ClipUpdateRMS(1.0)])
    # A decay of 1 and a gradient that moves it by 3: together 4, which is too much.
    optimizer.apply([tf.constant([6.0, 6.0])], [weight])
    np.testing.assert_allclose(weight, [3.5, 3.5], rtol=1e-6)


def test_a_learning_rate_of_zero_stops_everything():
    weight = keras.Variable([4.0, 4.0], name="weight")
    optimizer = GradientPipeline(keras.optimizers.SGD(0.0), [ClipUpdateRMS()])
    optimizer.apply([tf.constant([6.0, 0.0])], [weight])
    np.testing.assert_array_equal(weight, [4.0, 4.0])


def test_follows_the_learning_rate_and_the_limit():
    weight = keras.Variable([0.0], name="weight")
    clip = ClipUpdateRMS(2.0)
    optimizer = GradientPipeline(keras.optimizers.SGD(1.0), [clip])
    optimizer.build([weight])

    @tf.function(autograph=False)
    def step():
        optimizer.apply([tf.constant([1000.0])], [weight])
        return weight.value

    np.testing.assert_allclose(step(), [-2.0], rtol=1e-6)
    optimizer.learning_rate = 0.1
    np.testing.assert_allclose(step(), [-2.2], rtol=1e-6)
    clip.max_rms.assign(5.0)
    np.testing.assert_allclose(step(), [-2.7], rtol=1e-6)


def test_excluded_weights_move_as_they_like():
    weights = [keras.Variable([0.0], name=name) for name in ("kernel", "bias")]
    clip = ClipUpdateRMS(exclude="bias")
    optimizer = GradientPipeline(keras.optimizers.SGD(1.0), [clip])
    optimizer.apply([tf.constant([9.0])] * 2, weights)
    assert [float(w[0]) for w in weights] == [-1.0, -9.0]


def test_averaged_weights_cannot_be_had_with_it():
    inner = keras.optimizers.SGD(1.0, use_ema=True)
    optimizer = GradientPipeline(inner, [ClipUpdateRMS()])
    with pytest.raises(ValueError, match="`optimizer.use_ema` must be False"):
        optimizer.build([keras.Variable([0.0])])


def test_rejects_bad_arguments():
    message = "`max_rms` must be a number >= 0. Received: max_rms=-1."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ClipUpdateRMS(-1)
