"""Which connections go past a layer."""

import pytest

from keras_ext.tuner.spaces._network import checked_shape, skips


def test_equal_widths_are_added_as_they_are_others_through_a_map():
    shape = [1.0, 1.0, 0.5, 0.5, 1.0]
    expected = ["none", "identity", "projection", "identity", "projection"]
    assert skips(True, shape) == expected
    assert skips(False, shape) == skips(None, shape) == ["none"] * 5
    assert skips(True, [1.0]) == ["none"]


def test_shapes_are_checked():
    assert checked_shape([4, 2], (2,), "") == (4, 2)
    for wrong in ((4,), (4, 0), (4, 2.0), 4):
        with pytest.raises(ValueError, match="`input_shape` must be a tuple"):
            checked_shape(wrong, (2,), "as (steps, features)")
