import keras
import numpy as np

from keras_ext._keras._masks import mask_of

X = np.array([[[1.0], [0.0], [2.0]]], "float32")


def test_the_mask_is_that_of_the_layer():
    outputs = keras.layers.Masking()(X)
    np.testing.assert_array_equal(mask_of(outputs), [[True, False, True]])
    # A structure with one tensor in it has that of the tensor.
    np.testing.assert_array_equal(mask_of({"a": outputs}), [[True, False, True]])


def test_without_a_mask_there_is_none():
    assert mask_of(keras.ops.convert_to_tensor(X)) is None
    assert mask_of(X) is None


def test_of_several_outputs_none_stands_for_all():
    outputs = keras.layers.Masking()(X)
    assert mask_of([outputs, outputs]) is None
    assert mask_of(None) is None
