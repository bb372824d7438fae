import keras
import pytest

from keras_ext._core._dtypes import wide_dtype


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "int32", "bool"])
def test_all_but_float64_are_computed_in_float32(dtype):
    assert wide_dtype(dtype) == "float32"


def test_float64_stays_in_whatever_form_it_is_given():
    tensor = keras.ops.ones((), "float64")
    assert wide_dtype("float64") == wide_dtype(tensor.dtype) == "float64"


def test_a_sum_goes_on_growing_where_that_in_half_precision_stops():
    half = keras.ops.ones((), "float16")
    large = 2048 * half
    assert float(large + half) == 2048.0
    wide = wide_dtype(half.dtype)
    assert float(keras.ops.cast(large, wide) + keras.ops.cast(half, wide)) == 2049.0
