"""Clipping all gradients together, against optax and Keras."""

import re

import keras
import numpy as np
import pytest

from keras_ext.gradients import ClipByGlobalNorm
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
    expected = {name: OPTAX[f"global/{name}"] for name in STREAM}
    assert_equal_streams(transformed(ClipByGlobalNorm(1.5)), expected)


@pytest.mark.thorough(LONG)
def test_equals_the_global_clipnorm_of_keras():
    ours = GradientPipeline(keras.optimizers.SGD(0.01), [ClipByGlobalNorm(0.7)])
    oracle = keras.optimizers.SGD(0.01, global_clipnorm=0.7)
    assert_moves_as(ours, oracle, rtol=1e-5, atol=1e-6)


def test_excluded_weights_do_not_count():
    alone = {"hidden/kernel": STREAM["hidden/kernel"]}
    expected = transformed(ClipByGlobalNorm(0.7), alone)["hidden/kernel"]
    clipped = transformed(ClipByGlobalNorm(0.7, include="hidden/kernel"))
    np.testing.assert_array_equal(clipped["hidden/kernel"], expected)
    np.testing.assert_array_equal(clipped["head/kernel"], STREAM["head/kernel"])


def test_the_config_says_nothing_of_what_is_fixed():
    config = ClipByGlobalNorm(0.3, exclude="head").get_config()
    assert config == {"max_norm": 0.3, "include": None, "exclude": "head"}


def test_rejects_bad_arguments():
    message = "`max_norm` must be a number >= 0. Received: max_norm=nan."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ClipByGlobalNorm(float("nan"))
