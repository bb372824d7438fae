import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

from keras_ext.explain._inputs import Inputs, num_rows, take
from tests.explain.models import linear, normal, two_inputs

ROWS = {"number": normal(4, 2), "tokens": np.arange(12).reshape(4, 3) % 7}


def test_parts_go_back_to_what_the_model_takes():
    inputs = Inputs(two_inputs(), ROWS)
    parts = inputs.parts(ROWS)
    assert [p.dtype.name for p in parts] == ["float32", "int32"]
    assert (inputs.sizes, inputs.num_elements, num_rows(parts)) == ([2, 3], 5, 4)
    back = inputs.assemble(parts)
    for name, array in ROWS.items():
        np.testing.assert_array_equal(back[name], array)
    first, second = inputs.split(np.arange(10).reshape(2, 5))
    np.testing.assert_array_equal(first, [[0, 1], [5, 6]])
    np.testing.assert_array_equal(second, [[2, 3, 4], [7, 8, 9]])
    np.testing.assert_array_equal(take(parts, [2])[0], ROWS["number"][2:3])


def test_elements_are_named_by_input_and_place():
    assert Inputs(two_inputs(), ROWS).element_names() == [
        *("number[0]", "number[1]", "tokens[0]", "tokens[1]", "tokens[2]")
    ]
    frame = pd.DataFrame(normal(2, 2), columns=["age", "income"])
    model = linear([1.0, 2.0])
    assert Inputs(model, frame).element_names() == ["age", "income"]
    assert Inputs(model, frame.to_numpy()).element_names() == ["feature 0", "feature 1"]


def test_an_axis_of_length_one_may_be_missing():
    inputs = Inputs(linear([2.0]), normal(3))
    assert (inputs.shapes, inputs.model_shapes) == ([()], [(1,)])
    assert inputs.assemble(inputs.parts(normal(3))).shape == (3, 1)


def test_rows_that_do_not_fit_are_refused():
    model = linear([1.0, 2.0])
    inputs = Inputs(model, normal(2, 2))
    with pytest.raises(ValueError, match=r"`x` must be.*row\[None\]"):
        inputs.parts(np.zeros(2))
    with pytest.raises(ValueError, match="`x` must be of float32"):
        inputs.parts(np.array([["a", "b"]], object))
    uneven = {"number": ROWS["number"][:2], "tokens": ROWS["tokens"]}
    with pytest.raises(ValueError, match="`background` must be.*equally many"):
        Inputs(two_inputs(), uneven)


def test_fractions_are_no_whole_numbers():
    whole = keras.Input((2,), dtype="int32")
    model = keras.Model(whole, layers.Flatten()(layers.Embedding(5, 1)(whole)))
    inputs = Inputs(model, np.zeros((1, 2)))
    assert inputs.parts(np.array([[1.0, 3.0]]))[0].dtype == "int32"
    with pytest.raises(ValueError, match=r"`x` must be of int32.*1\.5"):
        inputs.parts(np.array([[1.0, 1.5]]))


def test_sequences_of_another_length_are_to_be_padded():
    tokens = keras.Input((None,), dtype="int32")
    embedded = layers.Embedding(9, 2, mask_zero=True)(tokens)
    inputs = Inputs(
        keras.Model(tokens, layers.GlobalAveragePooling1D()(embedded)),
        np.ones((2, 6), "int32"),
    )
    shorter = np.ones((1, 4), "int32")
    with pytest.raises(ValueError, match=r"`x` must be.*\(6,\).*pad_sequences"):
        inputs.parts(shorter)
    padded = keras.utils.pad_sequences(shorter, maxlen=6, padding="post")
    np.testing.assert_array_equal(inputs.parts(padded)[0], [[1, 1, 1, 1, 0, 0]])
