"""What users give as data."""

import pickle

import numpy as np
import pandas
import pytest
import tensorflow as tf

from keras_ext.data._samples import arrays_of, constants_of, tensors_of

X = np.arange(6.0).reshape(3, 2)


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        (X, "float32"),
        (X.astype("float16"), "float32"),
        (tf.constant(X), "float32"),
        (X.astype("int64"), "int64"),
        (X > 2, "bool"),
        (pandas.DataFrame(X, columns=["a", "b"]), "float32"),
        (np.array([["a", "bc"], ["d", "e"], ["f", ""]]), "string"),
    ],
    ids=["numbers", "half", "tensor", "integers", "flags", "frame", "texts"],
)
def test_one_kind_of_all(given, dtype):
    (found,), length = tensors_of(given, None, None)
    assert length == 3
    assert found.dtype == dtype
    assert found.device.endswith("CPU:0")
    values = np.asarray(given).astype("S" if dtype == "string" else None)
    np.testing.assert_array_equal(found.numpy().astype(values.dtype), values)


def test_the_dtype_of_floats_is_that_of_keras(monkeypatch):
    monkeypatch.setattr("keras.config.floatx", lambda: "float64")
    (found,), _ = tensors_of(X.astype("float32"), None, None)
    assert found.dtype == tf.float64


def test_structure():
    x = {"a": X, "b": [np.array(["a", "b", "ä"]), None]}
    found, _ = tensors_of(x, None, X[:, 0])
    tf.nest.assert_same_structure(found, ({"a": 0, "b": (0, None)}, None, 0))
    again = constants_of(pickle.loads(pickle.dumps(arrays_of(found))))
    tf.nest.assert_same_structure(found, again)
    for one, two in zip(tf.nest.flatten(found), tf.nest.flatten(again), strict=True):
        assert one is two is None or (
            one.dtype == two.dtype and bool((one == two).numpy().all())
        )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((None, X, None), "`x` must be arrays or a tf.data.Dataset"),
        ((object(), X, None), "`x` must be arrays of numbers or texts"),
        (([1, 2, 3], X, None), "`x` must be arrays of numbers or texts"),
        (([], X, None), "`x` must be arrays, at least one"),
        ((X, {"a": None}, None), "`y` must be arrays, at least one"),
        ((X, 3, None), "`y` must be arrays of numbers or texts"),
        ((X, X, "heavy"), "`sample_weight` must be arrays of numbers or texts"),
        ((X, np.array([None, 1, 2]), None), "`y` must be arrays of numbers or texts"),
        ((np.array(["2020-01-01"], "datetime64[D]"), None, None), "`x` must be arrays"),
        ((tf.ragged.constant([[1], [2, 3]]), None, None), "`x` must be arrays of"),
        ((X, X[:2], None), "`x, y` must be arrays of equally many samples"),
        (({"a": X, "b": X[:2]}, None, None), "`x` must be arrays of equally many"),
        ((X, X, X[:1]), "`x, y, sample_weight` must be arrays of equally many"),
        ((X[:0], X[:0], None), "`x, y` must be of one sample or more"),
    ],
)
def test_what_is_no_data(given, message):
    with pytest.raises(ValueError, match=message) as caught:
        tensors_of(*given)
    assert len(str(caught.value)) < 500
