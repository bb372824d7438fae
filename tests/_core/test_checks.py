import math
from fractions import Fraction

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from keras_ext._core._checks import cut, is_integer, is_number, require, shown, texts


def test_says_nothing_when_the_rule_holds():
    require(True, "x", 1, "anything", hint="Nobody reads this.")


def test_the_message_has_the_rule_the_value_and_the_hint():
    message = r"^`x` must be even\. Received: x='3'\. Pass 2 or 4\.$"
    with pytest.raises(ValueError, match=message):
        require(False, "x", "3", "even", hint="Pass 2 or 4.")


def test_without_a_hint_the_message_ends_with_the_value():
    with pytest.raises(ValueError, match=r"^`x` must be even\. Received: x=3\.$"):
        require(False, "x", 3, "even")


class Broken:
    """What cannot even be written."""

    def __repr__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    "value",
    [
        np.zeros((1000, 1000)).tolist(),
        [np.zeros((60_000, 28, 28)), np.arange(60_000)],
        {f"feature {i}": np.zeros((500, 3)) for i in range(300)},
        "x" * 10_000,
        10**4000,
        {str(i): {str(j): ["a" * 100] * 100 for j in range(100)} for i in range(100)},
        Broken(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_message_is_long_whatever_came(value):
    with pytest.raises(ValueError, match="`x` must be") as caught:
        require(False, "x", value, f"one of {list(range(10_000))}", hint="why " * 500)
    assert len(str(caught.value)) < 600
    assert "Received: x=" in str(caught.value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.ones(3, "int32"), "<ndarray of shape (3,), int32>"),
        (tf.zeros((2, 5)), "<EagerTensor of shape (2, 5), float32>"),
        (tf.ragged.constant([[1], [2, 3]]), "<RaggedTensor of shape (2, None), int32>"),
        (keras.KerasTensor((None, 4)), "<KerasTensor of shape (None, 4), float32>"),
        ({"a": [np.ones((1, 2))]}, "{'a': [<ndarray of shape (1, 2), float64>]}"),
        (pd.DataFrame({"a": [1, 2]}), "<DataFrame of shape (2, 1)>"),
        (np.float64(0.5), "np.float64(0.5)"),
        (list(range(12)), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...]"),
        (np.ndarray, "<class 'numpy.ndarray'>"),
    ],
    ids=str,
)
def test_arrays_are_told_by_shape_and_dtype(value, text):
    assert shown(value) == text


def test_as_many_texts_as_things():
    assert texts(("a", 1), "titles", 2, "one for each") == ["a", "1"]
    assert texts(np.array(["a", "b"]), "titles", 1, "one for each", more=True)
    message = "`feature_names` must be 2 names, one for each. Received: feature_names="
    for wrong in ("ab", 3, None, ["a"], {"a": 1, "b": 2}, np.array("ab")):
        with pytest.raises(ValueError, match=message):
            texts(wrong, "feature_names", 2, "one for each")


def test_long_text_loses_its_middle():
    assert cut("abcdefghijklmnopqrst", 12) == "abcde...qrst"
    assert cut("abc", 3) == "abc"


@pytest.mark.parametrize(
    ("value", "number", "integer"),
    [
        (0, True, True),
        (-3, True, True),
        (10**40, True, False),
        (0.5, True, False),
        (2.0, True, False),
        (np.float32(0.5), True, False),
        (np.float64(0.5), True, False),
        (np.int32(2), True, True),
        (np.uint8(2), True, True),
        (Fraction(1, 3), True, False),
        (math.nan, False, False),
        (math.inf, False, False),
        (np.float32("nan"), False, False),
        (True, False, False),
        (np.True_, False, False),
        (1j, False, False),
        ("1", False, False),
        (None, False, False),
        ([1], False, False),
        (np.ones(1), False, False),
    ],
)
def test_knows_numbers_and_integers(value, number, integer):
    assert is_number(value) is number
    assert is_integer(value) is integer
