import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_ext.explain._inputs import Inputs
from keras_ext.explain._lookups import Lookups
from keras_ext.explain._model_function import ModelFunction
from tests.thorough import LONG


def lookups(model, rows):
    inputs = Inputs(model, rows)
    parts = inputs.parts(rows)
    return Lookups(ModelFunction(model, inputs, parts), parts)


def model_of(tokens_of, length=300, dtype="int32"):
    inputs = keras.Input((length,), dtype=dtype)
    table = layers.Embedding(9, 2)
    total = layers.Flatten()(table(tokens_of(inputs)))
    return keras.Model(inputs, layers.Dense(1)(total))


@pytest.mark.parametrize(
    ("tokens_of", "expected"),
    [
        (lambda x: x, np.arange(300)),
        (lambda x: x[:, 200:], np.arange(200, 300)),
        (lambda x: ops.flip(x, axis=1), np.arange(300)[::-1]),
        (lambda x: ops.reshape(x, (-1, 3, 100)), np.arange(300)),
        (lambda x: ops.cast(x, "int32") + 5, np.arange(300)),
        (
            lambda x: ops.concatenate([ops.zeros_like(x[:, :1]), x[:, :2]], axis=1),
            [-1, 0, 1],
        ),
    ],
)
def test_elements_are_found_whatever_their_number_and_order(tokens_of, expected):
    """More elements than a byte has values."""
    found = lookups(model_of(tokens_of, dtype="uint8"), np.zeros((1, 300)))
    np.testing.assert_array_equal(found.calls[0].elements, expected)


@pytest.mark.thorough(LONG)
def test_what_is_the_same_in_all_rows_is_no_element():
    inputs = keras.Input((3,), dtype="int32")
    places = layers.Embedding(3, 2)(ops.zeros_like(inputs))
    total = layers.Embedding(9, 2)(inputs) + places
    model = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(total)))
    known = [call is not None for call in lookups(model, np.zeros((1, 3))).calls]
    assert sorted(known) == [False, True]


@pytest.mark.thorough(LONG)
def test_tokens_that_are_computed_are_refused():
    for tokens_of in (lambda x: 2 * x, lambda x: ops.cumsum(x, axis=1)):
        with pytest.raises(ValueError, match=r"'embedding.*as they are.*permutation"):
            lookups(model_of(tokens_of, 3), np.zeros((1, 3)))
