"""How objects are printed."""

import numpy as np
import pytest
import tensorflow as tf

import keras_ext as kx
from keras_ext._core._described import Described


class Tool(Described):
    """Keeps what it is given, as all do."""

    def __init__(self, size, kind="usual", *, rate=0.1, parts=(), seed=None):
        self.size, self.kind, self.rate = size, kind, rate
        self.parts, self.seed = parts, seed


class Plain:
    """Has no picture of its own."""


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (Tool(3), "Tool(3)"),
        (Tool(3, "odd"), "Tool(3, 'odd')"),
        (Tool(3, rate=0.5, seed=1), "Tool(3, rate=0.5, seed=1)"),
        (Tool(3, rate=None), "Tool(3, rate=None)"),
        (Tool(3, rate=tf.Variable(0.1)), "Tool(3)"),
        (Tool(3, rate=np.float32(0.2)), "Tool(3, rate=0.2)"),
        (Tool(3, rate=kx.HyperVariable(0.2, "rate")), "Tool(3, rate=0.2)"),
        (Tool(3, rate=kx.HyperVariable(2, "n", dtype="int32")), "Tool(3, rate=2)"),
        (Tool(3, parts=[]), "Tool(3)"),
        (Tool(3, parts=[Tool(4), Plain()]), "Tool(3, parts=[Tool(4), Plain])"),
        (Tool(len, parts=(int,)), "Tool(len, parts=(int,))"),
        (Tool(np.zeros((2, 3))), "Tool(<ndarray of shape (2, 3), float64>)"),
        (Tool(float("nan")), "Tool(nan)"),
    ],
)
def test_shows_what_is_no_default(made, text):
    assert repr(made) == text


def test_a_default_is_known_again_in_float32():
    class Third(Described):
        def __init__(self, part=1 / 3, unset=float("nan")):
            self.part, self.unset = part, unset

    assert repr(Third(tf.Variable(1 / 3))) == "Third()"
    assert repr(Third(0.33334)) == "Third(0.33334)"


def test_what_is_long_is_shortened():
    assert len(repr(Tool("x" * 1000, parts=list(range(1000))))) < 150


def test_an_attribute_that_fails_is_left_out():
    class Failing(Tool):
        @property
        def kind(self):
            raise RuntimeError

        @kind.setter
        def kind(self, value):
            pass

    # What comes after it is no longer in its place.
    assert repr(Failing(3, "odd", rate=0.5)) == "Failing(3, rate=0.5)"


def test_a_live_value_is_the_present_one():
    layer = kx.layers.LiveDropout(0.1, name="drop")
    layer.rate = 0.4
    assert repr(layer) == "LiveDropout(0.4, name='drop')"
