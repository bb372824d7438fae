"""Hyperparameters that live on the device, and finding those of a model."""

import copy
import math
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from keras_ext import HyperVariable

BUILT = pytest.mark.parametrize("built", [False, True])


def made(*args, built=False, **kwargs):
    hyper = HyperVariable(*args, **kwargs)
    if built:
        hyper.build()
    return hyper


# The value.


@BUILT
def test_holds_a_number_that_can_be_assigned(built):
    hyper = made(0.1, "rate", built=built)
    assert float(hyper) == 0.1
    hyper.assign(0.7)
    assert float(hyper) == 0.7
    assert float(hyper.value) == pytest.approx(0.7, rel=1e-7)
    hyper.assign(-2)
    assert float(hyper) == -2.0
    assert int(hyper) == -2


@BUILT
@pytest.mark.parametrize(
    ("bounds", "given", "kept"),
    [
        ((0.0, 1.0), 3.0, 1.0),
        ((0.0, 1.0), -3.0, 0.0),
        ((0.0, 1.0), 0.25, 0.25),
        ((None, 1.0), -3.0, -3.0),
        ((0.0, None), 3.0, 3.0),
        ([0.0, 1.0], 2.0, 1.0),
    ],
)
def test_clips_to_the_bounds(built, bounds, given, kept):
    hyper = made(0.5, "x", bounds=bounds, built=built)
    hyper.assign(given)
    assert float(hyper) == kept


@BUILT
def test_takes_numpy_and_tensors(built):
    hyper = made(0.0, "x", built=built)
    for value in (np.float32(0.5), np.int64(3), tf.constant(2.5)):
        hyper.assign(value)
        assert float(hyper) == float(value)


@BUILT
@pytest.mark.parametrize(
    "nonsense", [math.nan, math.inf, -math.inf, "1", None, True, [1.0], 1j]
)
def test_refuses_nonsense_and_keeps_its_value(built, nonsense):
    hyper = made(0.1, "rate", built=built)
    message = f"`rate` must be a finite number. Received: rate={nonsense!r}."
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        hyper.assign(nonsense)
    assert float(hyper) == 0.1


@BUILT
def test_counts_are_integers(built):
    steps = made(3, "steps", bounds=(1, 8), dtype="int32", built=built)
    steps.assign(4.0)
    assert int(steps) == 4
    assert isinstance(int(steps), int)
    steps.assign(100)
    assert int(steps) == 8
    with pytest.raises(ValueError, match=r"^`steps` must be an integer.*steps=2\.5\.$"):
        steps.assign(2.5)
    assert int(steps) == 8


def test_no_finite_number_becomes_infinite():
    hyper = made(1.0, "x", bounds=(0.0, None), scale="log", built=True)
    hyper.assign_on_scale(500.0)  # exp(500) is beyond float32
    assert math.isfinite(float(hyper))
    hyper.assign(1e300)
    assert math.isfinite(float(hyper))


# Building and copying.


def test_is_built_once():
    hyper = HyperVariable(0.1, "rate")
    assert not hyper.built
    variable = hyper.build()
    assert hyper.built
    assert hyper.build() is variable
    assert hyper.variable is variable
    hyper.assign(0.3)
    assert hyper.build() is variable
    assert float(hyper) == 0.3


def test_the_variable_is_a_plain_float32_whatever_the_policy():
    keras.config.set_dtype_policy("mixed_float16")
    variable = HyperVariable(0.1, "rate").build()
    assert variable.dtype == "float32"
    assert variable.shape == ()
    assert not variable.trainable
    assert variable.name == "rate"
    assert HyperVariable(1, "n", dtype="int32").build().dtype == "int32"


def test_there_is_no_variable_before_it_is_built():
    message = (
        r"^`rate\.built` must be True\. Received: rate\.built=False\. "
        r"Build the layer or optimizer that owns it first\.$"
    )
    with pytest.raises(ValueError, match=message):
        _ = HyperVariable(0.1, "rate").variable
    assert HyperVariable(0.1, "rate").value == 0.1


@BUILT
def test_a_copy_starts_with_the_present_value_and_goes_its_own_way(built):
    hyper = made(0.1, "rate", bounds=(0.0, 0.9), scale="logit", built=built)
    hyper.assign(0.3)
    copied = copy.deepcopy(hyper)
    assert not copied.built
    assert float(copied) == 0.3
    assert (copied.name, copied.bounds, copied.scale) == ("rate", (0.0, 0.9), "logit")
    copied.assign(0.5)
    copied.build()
    copied.assign(2.0)
    assert float(copied) == 0.9
    assert float(hyper) == 0.3


def test_a_copy_of_a_large_count_has_every_digit():
    steps = made(2**24 + 1, "steps", dtype="int32", built=True)
    assert int(copy.deepcopy(steps)) == 2**24 + 1


def test_what_is_shared_stays_shared_in_a_copy():
    steps = made(3, "steps", dtype="int32", built=True)
    a, b = copy.deepcopy([steps, steps])
    assert a is b
    assert a.dtype == "int32"
    assert int(a) == 3


def test_says_what_it_is():
    hyper = made(0.1, "rate", bounds=(0.0, 0.9), scale="logit", built=True)
    expected = "HyperVariable(0.1, 'rate', bounds=(0.0, 0.9), scale='logit')"
    assert repr(hyper) == expected


# Scales.


@pytest.mark.parametrize(
    ("scale", "bounds", "value", "position"),
    [
        ("linear", (None, None), -3.0, -3.0),
        ("log", (0.0, None), 1.0, 0.0),
        ("log", (0.0, None), math.e**2, 2.0),
        ("log", (1, 1000), 100.0, math.log(100)),
        ("logit", (0.0, 1.0), 0.5, 0.0),
        ("logit", (0.0, 0.9), 0.2, -math.log(4)),
        ("logit", (0, 1), 0.9, math.log(9)),
    ],
)
def test_positions_on_the_scale(scale, bounds, value, position):
    hyper = HyperVariable(value, "x", bounds=bounds, scale=scale)
    assert hyper.to_scale() == pytest.approx(position, abs=1e-9)
    assert made(
        value, "x", bounds=bounds, scale=scale, built=True
    ).to_scale() == pytest.approx(position, rel=1e-6, abs=1e-6)
    hyper.assign_on_scale(position + 1.0)
    changed = {
        "linear": lambda: value + 1.0,
        "log": lambda: value * math.e,
        "logit": lambda: 1 / (1 + (1 / value - 1) / math.e),
    }
    high = math.inf if bounds[1] is None else bounds[1]
    assert float(hyper) == pytest.approx(min(changed[scale](), high), rel=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-6, 1 - 1e-6), st.sampled_from(["linear", "log", "logit"]))
def test_there_and_back_again(value, scale):
    hyper = HyperVariable(value, "x", bounds=(0.0, 1.0), scale=scale)
    hyper.assign_on_scale(hyper.to_scale())
    assert float(hyper) == pytest.approx(value, rel=1e-9)


@BUILT
@pytest.mark.parametrize(
    ("scale", "low", "high"), [("log", 0.0, 5.0), ("logit", 0.0, 1.0)]
)
def test_the_bounds_have_finite_positions(built, scale, low, high):
    for value in (low, high):
        hyper = made(value, "x", bounds=(low, high), scale=scale, built=built)
        position = hyper.to_scale()
        assert math.isfinite(position)
        hyper.assign_on_scale(position)
        assert float(hyper) == pytest.approx(value, abs=2e-7)


@BUILT
@pytest.mark.parametrize("position", [-1e4, 1e4])
def test_far_positions_end_at_the_bounds(built, position):
    for scale in ("linear", "log", "logit"):
        hyper = made(0.5, "x", bounds=(0.25, 0.75), scale=scale, built=built)
        hyper.assign_on_scale(position)
        assert float(hyper) == (0.25 if position < 0 else 0.75)


@BUILT
def test_counts_can_be_moved_on_a_scale(built):
    hyper = made(3, "n", bounds=(1, 64), scale="log", dtype="int32", built=built)
    hyper.assign_on_scale(hyper.to_scale())
    assert int(hyper) == 3
    hyper.assign_on_scale(math.log(20.2))
    assert int(hyper) == 20


@pytest.mark.parametrize("position", [math.nan, math.inf, "0", None])
def test_refuses_positions_that_are_no_numbers(position):
    hyper = HyperVariable(0.5, "x", bounds=(0.0, 1.0), scale="logit")
    message = f"`position` must be a finite number. Received: position={position!r}."
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        hyper.assign_on_scale(position)
    assert float(hyper) == 0.5


# Errors at construction.


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"name": ""}, "`name` must be a non-empty text. Received: name=''."),
        ({"name": 3}, "`name` must be a non-empty text. Received: name=3."),
        (
            {"scale": "exp"},
            '`scale` must be "linear", "log" or "logit". Received: scale=\'exp\'.',
        ),
        (
            {"dtype": "float16"},
            '`dtype` must be "float32" or "int32". Received: dtype=\'float16\'.',
        ),
        (
            {"bounds": (0.0,)},
            "`bounds` must be a pair of numbers or None. Received: bounds=(0.0,).",
        ),
        (
            {"bounds": ("a", 1)},
            "`bounds` must be a pair of numbers or None. Received: bounds=('a', 1).",
        ),
        (
            {"bounds": 3},
            "`bounds` must be a pair of numbers or None. Received: bounds=3.",
        ),
        (
            {"bounds": (1.0, 0.0)},
            "`bounds` must be (low, high). Received: bounds=(1.0, 0.0).",
        ),
        (
            {"scale": "log"},
            "`bounds` must be with low >= 0 on the log scale. "
            "Received: bounds=(None, None).",
        ),
        (
            {"scale": "log", "bounds": (-1.0, 1.0)},
            "`bounds` must be with low >= 0 on the log scale. "
            "Received: bounds=(-1.0, 1.0).",
        ),
        (
            {"scale": "logit", "bounds": (0.0, 2.0)},
            "`bounds` must be within [0, 1] on the logit scale. "
            "Received: bounds=(0.0, 2.0).",
        ),
        (
            {"scale": "logit", "bounds": (0.0, None)},
            "`bounds` must be within [0, 1] on the logit scale. "
            "Received: bounds=(0.0, None).",
        ),
        ({"value": math.nan}, "`value` must be a finite number. Received: value=nan."),
        (
            {"value": 0.5, "dtype": "int32"},
            "`value` must be an integer. Received: value=0.5.",
        ),
        (
            {"value": 2.0, "bounds": (0.0, 1.0)},
            "`x` must be within (0.0, 1.0). Received: x=2.0.",
        ),
    ],
)
def test_rejects_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        HyperVariable(**{"value": 1.0, "name": "x", **kwargs})


# In a compiled step.


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_compiled_step_reads_it_every_time(jit_compile):
    hyper = made(0.5, "x", built=True)
    steps = made(2, "n", dtype="int32", built=True)
    traces = []

    @tf.function(autograph=False, jit_compile=jit_compile)
    def step(x):
        traces.append(1)
        return x * hyper.value + tf.cast(steps.value, tf.float32)

    assert float(step(tf.constant(10.0))) == 7.0
    hyper.assign(0.25)
    steps.assign(4)
    assert float(step(tf.constant(10.0))) == 6.5
    hyper.assign_on_scale(-1.0)
    assert float(step(tf.constant(10.0))) == -6.0
    assert len(traces) == 1


def test_half_precision_does_not_round_it():
    class Adds(layers.Layer):
        def build(self, input_shape):
            self.hyper = HyperVariable(0.1, "x")
            self.hyper.build()

        def call(self, inputs):
            return keras.ops.cast(inputs, "float32") + self.hyper.value

    layer = Adds(dtype="mixed_float16")
    assert float(layer(np.zeros(1))[0]) == np.float32(0.1)


def test_every_replica_sees_the_new_value(strategies):
    strategy = strategies(2)
    hyper = HyperVariable(0.5, "x")
    with strategy.scope():
        hyper.build()
    traces = []

    @tf.function(autograph=False)
    def step():
        def on_replica():
            traces.append(1)
            return 2.0 * hyper.value

        return strategy.run(on_replica)

    def values():
        return [float(v) for v in strategy.experimental_local_results(step())]

    assert values() == [1.0, 1.0]
    hyper.assign(3.0)  # outside of the scope, as a callback does
    assert values() == [6.0, 6.0]
    with strategy.scope():
        hyper.assign(4.0)
    assert values() == [8.0, 8.0]
    assert float(hyper) == 4.0
    assert len(traces) == 2  # one for each replica


def test_one_that_is_fixed_says_so():
    fixed = HyperVariable(4, "steps", bounds=(4, 4), dtype="int32")
    fixed.assign(4)
    with pytest.raises(ValueError, match="`steps` must be 4: it is fixed. Received"):
        fixed.assign(8)
