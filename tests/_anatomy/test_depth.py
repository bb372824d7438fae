import keras
import pytest
from keras import layers

from keras_ext._anatomy._depth import layers_by_depth


def names(model):
    return [[layer.name for layer in group] for group in layers_by_depth(model)]


def test_follows_a_functional_model_and_opens_those_inside():
    inputs = keras.Input((8, 8, 3))
    stem = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    inner = keras.Sequential(
        [
            layers.BatchNormalization(name="first"),
            layers.Conv2D(4, 1, name="conv"),
            layers.BatchNormalization(name="last"),
        ],
        name="block",
    )
    x = layers.Add()([stem, inner(stem)])
    outputs = layers.Dense(2, name="head")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, outputs)
    assert names(model) == [["stem", "first"], ["conv", "last"], ["head"]]


def test_a_normalization_in_front_goes_with_the_first_kernel():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.LayerNormalization(name="norm"),
            layers.Dense(2, name="dense"),
        ]
    )
    assert names(model) == [["norm", "dense"]]


def test_a_layer_of_layers_is_one_and_frozen_ones_are_none():
    model = keras.Sequential(
        [
            keras.Input((3, 4)),
            layers.Dense(4, name="frozen", trainable=False),
            layers.Bidirectional(layers.LSTM(2), name="both"),
            layers.Dense(2, name="head"),
        ]
    )
    assert names(model) == [["both"], ["head"]]


def test_a_shared_layer_is_where_it_comes_first():
    dense = layers.Dense(4, name="shared")
    inputs = keras.Input((4,))
    outputs = layers.Dense(4, name="head")(dense(dense(inputs)))
    assert names(keras.Model(inputs, outputs)) == [["shared"], ["head"]]


def test_without_a_kernel_all_is_one_depth():
    model = keras.Sequential([keras.Input((4,)), layers.LayerNormalization(name="n")])
    assert names(model) == [["n"]]
    assert names(keras.Sequential([keras.Input((4,)), layers.ReLU()])) == []


def test_needs_a_built_model():
    with pytest.raises(ValueError, match=r"`model.built` must be True"):
        layers_by_depth(keras.Sequential([layers.Dense(1)]))
