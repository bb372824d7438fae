"""A Keras that keeps losses and their weights elsewhere must fail here."""

import keras
import numpy as np
import pytest

from keras_ext._keras._loss_weights import (
    compiled_loss,
    loss_arguments,
    losses_of_outputs,
    of_each_output,
    put_loss_weight,
    user_loss_weights,
)
from tests.thorough import LONG

X = np.ones((4, 3), "float32")
Y = {"a": np.zeros((4, 1), "float32"), "b": np.zeros((4, 1), "float32")}


@pytest.fixture
def model():
    inputs = keras.Input((3,))
    dense = {n: keras.layers.Dense(1, kernel_initializer="ones", name=n) for n in "ab"}
    model = keras.Model(inputs, {name: layer(inputs) for name, layer in dense.items()})
    weights = {"a": 1.0, "b": 10.0}
    model.compile("sgd", {"a": "mse", "b": "mse"}, loss_weights=weights)
    return model


def loss_of(model):
    return model.evaluate(X, Y, verbose=0, return_dict=True)["loss"]


@pytest.mark.parametrize("run_before", [False, True])
@pytest.mark.thorough(LONG)
def test_a_weight_that_is_put_counts(model, run_before):
    if run_before:
        assert loss_of(model) == pytest.approx(99.0)  # (1 + 10) * 3 ** 2
    put_loss_weight(model, 1, 2.0)
    model.test_function = None
    assert loss_of(model) == pytest.approx(27.0)
    assert user_loss_weights(model) == {"a": 1.0, "b": 2.0}
    assert model.get_compile_config()["loss_weights"] == {"a": 1.0, "b": 2.0}


def test_without_weights_or_compile_there_are_none():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    assert compiled_loss(model) is None
    assert user_loss_weights(model) is None
    model.compile("sgd", "mse")
    assert compiled_loss(model) is not None
    assert user_loss_weights(model) is None


def test_a_loss_reads_its_arguments_when_it_is_called():
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.0)
    y, p = np.array([[1.0, 0.0]]), np.array([[0.8, 0.2]])
    assert float(loss(y, p)) == pytest.approx(-np.log(0.8), rel=1e-5)
    loss_arguments(loss)["label_smoothing"] = 1.0
    uniform = -(np.log(0.8) + np.log(0.2)) / 2
    assert float(loss(y, p)) == pytest.approx(uniform, rel=1e-5)


def test_what_is_given_stands_for_each_output():
    inputs = keras.Input((3,))
    ends = [keras.layers.Dense(1, name=name)(inputs) for name in ("b", "a")]
    several = keras.Model(inputs, ends)
    assert of_each_output(several, "mse") == ["mse", "mse"]
    assert of_each_output(several, ["mse", "mae"]) == ["mse", "mae"]
    assert of_each_output(several, {"a": "mae"}) == [None, "mae"]
    # Of a dictionary `outputs` are in the order of the keys.
    named = keras.Model(inputs, {"y": ends[0], "x": ends[1]})
    assert named.outputs[0] is ends[1]
    assert of_each_output(named, {"y": "mse", "x": "mae"}) == ["mae", "mse"]
    one = keras.Sequential([inputs, keras.layers.Dense(1)])
    assert of_each_output(one, {"dense": 2.0}) == of_each_output(one, [2.0]) == [2.0]
    one.compile("sgd", "mse")
    assert losses_of_outputs(one) == ["mse"]
