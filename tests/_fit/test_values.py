import keras
import numpy as np
import pytest

from keras_ext._fit._values import assign_values, values_of


def test_are_given_back():
    variables = [keras.Variable([1.0, 2.0]), keras.Variable(3)]
    kept = values_of(variables)
    variables[0].assign([0.0, 0.0])
    assign_values(variables, kept, "nobody")
    np.testing.assert_array_equal(variables[0], [1.0, 2.0])


def test_those_that_do_not_fit_are_left_with_a_warning():
    variables = [keras.Variable([1.0, 2.0])]
    with pytest.warns(UserWarning, match="Skipping what was saved for the clipping"):
        assign_values(variables, [np.zeros(3)], "the clipping")
    np.testing.assert_array_equal(variables[0], [1.0, 2.0])
