"""Fixed norms against optax, and against the clipping of Keras."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.gradients import ClipByNorm
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
    expected = {name: OPTAX[f"tensor/{name}"] for name in STREAM}
    assert_equal_streams(transformed(ClipByNorm(1.5)), expected)


@pytest.mark.thorough(LONG)
def test_equals_the_clipnorm_of_keras():
    ours = GradientPipeline(keras.optimizers.SGD(0.01), [ClipByNorm(0.7)])
    oracle = keras.optimizers.SGD(0.01, clipnorm=0.7)
    assert_moves_as(ours, oracle, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("per", ["unit", "layer", "global"])
def test_norms_may_be_those_of_larger_and_smaller_parts(per):
    clipped = transformed(ClipByNorm(0.5, per=per))
    t = 33  # a spike in one weight
    squares = {name: np.square(np.float64(g[t])) for name, g in clipped.items()}
    if per == "unit":
        norms = np.sqrt(squares["hidden/kernel"].sum(0))
        own = np.sqrt(np.square(np.float64(STREAM["hidden/kernel"][t])).sum(0))
        np.testing.assert_allclose(norms, np.minimum(own, 0.5), rtol=1e-6)
    elif per == "layer":
        hidden = squares["hidden/kernel"].sum() + squares["hidden/bias"].sum()
        assert np.sqrt(hidden) == pytest.approx(0.5, rel=1e-6)
        assert np.sqrt(squares["head/kernel"].sum()) == pytest.approx(0.5, rel=1e-6)
    else:
        # The spike leaves nothing to the others.
        assert np.sqrt(sum(s.sum() for s in squares.values())) == pytest.approx(0.5)
        assert np.sqrt(squares["hidden/kernel"].sum()) < 1e-4


def test_shorter_gradients_keep_every_bit():
    clipped = transformed(ClipByNorm(1e9))
    for name, gradients in STREAM.items():
        np.testing.assert_array_equal(clipped[name], gradients)


def test_the_norm_can_change_while_training():
    clip = ClipByNorm(2.0)
    optimizer = GradientPipeline(keras.optimizers.SGD(1.0), [clip])
    weight = keras.Variable([0.0], name="weight")
    optimizer.build([weight])

    @tf.function(autograph=False)
    def step():
        optimizer.apply([tf.constant([8.0])], [weight])

    step()
    clip.max_norm.assign(0.5)
    step()
    assert weight.numpy().item() == pytest.approx(-2.5)
    assert clip.get_config()["max_norm"] == 0.5


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"max_norm": -1}, "`max_norm` must be a number >= 0. Received: max_norm=-1."),
        (
            {"per": "row"},
            '`per` must be "unit", "tensor", "layer" or "global". Received: '
            "per='row'.",
        ),
    ],
)
def test_rejects_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ClipByNorm(**kwargs)
