import numpy as np
import pytest

from keras_ext.compression._run_tfmot import _write
from keras_ext.compression._tfmot_process import function_of, read


@pytest.mark.parametrize(
    "data",
    [
        None,
        np.arange(3.0),
        [np.ones((2, 1)), np.zeros(3, "int8")],
        {"a": np.ones(2), "b": np.zeros((1, 1))},
    ],
    ids=["none", "one", "list", "dictionary"],
)
def test_arrays_arrive_as_they_were_sent(data, tmp_path):
    _write(tmp_path, "x", data)
    found = read(tmp_path, "x")
    assert type(found) is type(data)
    if data is not None:
        keys = data.keys() if isinstance(data, dict) else range(len(data))
        for key in keys:
            np.testing.assert_array_equal(found[key], data[key])


def test_a_function_is_made_from_its_source():
    source = "def f(model, tfmot, x, y):\n    return np.sum(x) + tf.constant(1.0)"
    f = function_of(source, "f", None)
    assert float(f(None, None, np.ones(3), None)) == 4.0


def test_what_has_no_numbers_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`x` must be an array, or a list or dictio"):
        _write(tmp_path, "x", object())
