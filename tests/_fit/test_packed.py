import numpy as np
import pytest

from keras_ext._fit._packed import packed, unpacked

STATE = {
    "number": 1.5,
    "large": 2**100,
    "infinite": [float("inf"), None, True],
    ("a", "b"): {"array": np.arange(6.0).reshape(2, 3), 3: "text"},
}


def test_comes_back_as_it_was():
    back = unpacked(packed(STATE))
    array = back["a", "b"].pop("array")
    np.testing.assert_array_equal(array, np.arange(6.0).reshape(2, 3))
    assert back["a", "b"] == {3: "text"}
    assert {k: v for k, v in back.items() if k != ("a", "b")} == {
        k: v for k, v in STATE.items() if k != ("a", "b")
    }


def test_nothing_of_it_is_run():
    with pytest.raises((TypeError, ValueError)):
        packed({"object": object()})
