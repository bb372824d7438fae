import copy
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext._live._live_value import LiveValue


@pytest.fixture
def box():
    """Holds the number that stands for a live value of 0.5."""
    live = LiveValue(0.5, "rate", bounds=(0.0, 0.95), scale="logit")
    live.build()
    box = {"live": live}
    live.stand_in(lambda number: box.update(number=number))
    return box


def test_is_the_number_to_whoever_looks(box):
    number = box["number"]
    assert number == 0.5
    assert 0 < number < 1
    assert json.dumps([number]) == "[0.5]"
    assert f"{number:.2f} {number}" == "0.50 0.5"
    assert keras.saving.serialize_keras_object(number) == 0.5
    box["live"].assign(0.25)
    assert box["number"] == 0.25


def test_without_a_graph_it_counts_as_any_number(box):
    assert type(1 - box["number"]) is type(box["number"] * 2.0) is float


def test_a_copy_is_an_ordinary_number(box):
    for made in (copy.deepcopy(box["number"]), float(box["number"])):
        assert type(made) is float
        assert made == 0.5


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_graph_reads_the_variable_in_every_operation(box, jit_compile):
    x = tf.constant(2.0)

    @tf.function(autograph=False, jit_compile=jit_compile)
    def compute():
        r = box["number"]
        tensors = [1 - r, r - 1, r * x, x * r, x / r, r / x, -r, r**2, x**r, r + x]
        tensors += [keras.ops.cast(r, "float16"), keras.ops.power(r, 2.0)]
        return [tf.cast(t, "float32") for t in tensors]

    def expected(r):
        return [
            1 - r,
            r - 1,
            2 * r,
            2 * r,
            2 / r,
            r / 2,
            -r,
            r**2,
            2**r,
            r + 2,
            r,
            r**2,
        ]

    np.testing.assert_allclose(compute(), expected(0.5), rtol=1e-3)
    box["live"].assign(0.125)
    np.testing.assert_allclose(compute(), expected(0.125), rtol=1e-3)
    assert compute.experimental_get_tracing_count() == 1


def test_zero_does_not_decide_what_is_compiled(box):
    """Keras asks `if rate > 0`, which may not be true now and be true later."""
    box["live"].assign(0.0)
    number = box["number"]
    assert number > 0
    assert 0.0 < number  # noqa: SIM300
    assert number != 0.0
    assert number
    assert not number == 0  # noqa: SIM201
    assert not number <= 0
    assert float(number) == 0.0


def test_released_it_is_an_ordinary_number(box):
    box["live"].assign(0.25)
    box["live"].release()
    assert type(box["number"]) is float
    assert box["number"] == 0.25
    box["live"].assign(0.75)
    assert box["number"] == 0.25


def test_a_step_may_compute_the_value_instead(box):
    count = tf.Variable(1.0)
    box["live"].follow(lambda: count / 8)
    compute = tf.function(lambda: 2.0 * tf.convert_to_tensor(box["number"]))
    assert float(compute()) == 0.25
    count.assign(2.0)
    assert float(compute()) == 0.5
    # To whoever looks it is what was assigned, as it is again when that ends.
    assert box["number"] == 0.5
    box["live"].follow(None)
    assert float(tf.convert_to_tensor(box["number"])) == 0.5
