import keras
import numpy as np
import pytest

from keras_ext._anatomy._batch_length import batch_length

X = np.zeros((5, 2))


@pytest.mark.parametrize(
    "data", [X, (X,), (X, X[:, 0]), ({"a": X, "b": None}, None, X[:, 0]), ([None, X],)]
)
def test_is_that_of_the_first_input(data):
    assert int(batch_length(data)) == 5


def test_no_input_has_no_length():
    assert batch_length((None, keras.ops.ones(3))) is None
