"""Tests of replacing a method of one object."""

import keras

from keras_ext.core._replaced_method import replace_method


def test_is_undone_in_the_opposite_order():
    layer = keras.layers.ReLU()
    undo_first = replace_method(layer, "call", lambda: 1)
    undo_second = replace_method(layer, "call", lambda: 2)
    assert layer.call() == 2
    undo_second()
    assert layer.call() == 1
    undo_first()
    assert "call" not in vars(layer)


def test_may_be_undone_twice():
    layer = keras.layers.ReLU()
    undo = replace_method(layer, "call", lambda: 1)
    undo()
    undo()
    assert layer.call.__func__ is keras.layers.ReLU.call
