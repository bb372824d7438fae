import keras
import numpy as np
import pytest

from keras_ext._anatomy._kept_values import kept_values


def test_variables_have_their_values_again():
    kernel = keras.Variable([1.0, 2.0])
    steps = keras.Variable(3, dtype="int32", trainable=False)
    with kept_values([kernel, steps]):
        kernel.assign([0.0, np.nan])
        steps.assign_add(4)
        assert int(steps) == 7
    np.testing.assert_array_equal(kernel, [1.0, 2.0])
    assert int(steps) == 3


def test_also_if_measuring_fails():
    kernel = keras.Variable([1.0])

    def measure():
        with kept_values([kernel]):
            kernel.assign([5.0])
            raise KeyError

    with pytest.raises(KeyError):
        measure()
    assert float(kernel[0]) == 1.0


def test_others_keep_what_was_done_to_them():
    kept, other = keras.Variable(1.0), keras.Variable(1.0)
    with kept_values([kept]):
        kept.assign(2.0)
        other.assign(2.0)
    assert (float(kept), float(other)) == (1.0, 2.0)
