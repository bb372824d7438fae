"""A Keras that calls its functional models otherwise must fail here."""

import keras

from keras_ext._keras._functional import is_functional, is_graph


def made_of_layers(kind):
    x = keras.Input((2,))
    return kind(x, keras.layers.Dense(1)(x))


class WithCall(keras.Model):
    def call(self, inputs):
        return inputs


def test_a_functional_model_is_one():
    model = made_of_layers(keras.Model)
    assert is_functional(model)
    assert [type(x).__name__ for x in model.operations] == ["InputLayer", "Dense"]


def test_one_with_a_call_of_its_own_is_none():
    assert not is_functional(made_of_layers(WithCall))
    assert not is_functional(keras.layers.Dense(1))


def test_a_graph_says_how_its_layers_are_connected():
    sequential = keras.Sequential([keras.layers.Dense(1)])
    assert is_graph(sequential)
    assert is_graph(made_of_layers(keras.Model))
    assert not is_graph(made_of_layers(WithCall))
    assert not is_graph(keras.layers.Dense(1))
    assert not is_graph(None)
