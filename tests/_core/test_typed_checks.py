import re

import numpy as np
import pytest

from keras_ext._core._checks import choice, flag, integer, number

NAN = float("nan")


@pytest.mark.parametrize(
    ("check", "options", "good", "bad", "expected"),
    [
        (number, {}, [0, -1.5], ["1", NAN, True, None, [1]], "a number"),
        (number, {"low": 0, "below": 1}, [0, 0.9], [1, -0.1], "a number in [0, 1)"),
        (number, {"above": 0, "high": 1}, [1, 0.1], [0, 1.1], "a number in (0, 1]"),
        (number, {"above": 0}, [1e-9], [0], "a number > 0"),
        (number, {"low": 1, "optional": True}, [1, None], [0], "a number >= 1 or None"),
        (number, {"below": 2}, [1], [2], "a number < 2"),
        (integer, {}, [0, -3], [1.0, "1", True, None], "an integer"),
        (integer, {"low": 1}, [1], [0], "an integer >= 1"),
        (integer, {"low": 1, "high": 3}, [1, 3], [0, 4], "an integer in [1, 3]"),
        (integer, {"optional": True}, [None, 2], ["x"], "an integer or None"),
    ],
)
def test_numbers(check, options, good, bad, expected):
    for value in good:
        assert check(value, "x", **options) == value
    for value in bad:
        message = re.escape(f"`x` must be {expected}. Received: x={value!r}.")
        with pytest.raises(ValueError, match=message):
            check(value, "x", **options)


def test_numbers_of_numpy_become_those_of_python():
    assert type(integer(np.int64(3), "x")) is int
    assert type(number(np.float32(0.5), "x")) is float
    assert number(3, "x") == 3
    assert type(number(3, "x")) is int
    assert flag(np.bool_(True), "x") is True


@pytest.mark.parametrize("value", ["False", 1, None, np.ones(2)])
def test_flags(value):
    assert flag(False, "x") is False
    with pytest.raises(ValueError, match=r"`x` must be True or False\. Received"):
        flag(value, "x")


@pytest.mark.parametrize("value", ["c", None, 1, ["a"], np.array(["a", "b"])])
def test_choices(value):
    assert choice("a", "x", ("a", "b")) == "a"
    with pytest.raises(ValueError, match=r'`x` must be "a" or "b"\. Received'):
        choice(value, "x", ("a", "b"))


def test_choices_of_one_and_of_none():
    assert choice(None, "x", ("a", "b"), optional=True) is None
    with pytest.raises(ValueError, match='`x` must be "a", "b" or None'):
        choice("c", "x", ("a", "b"), optional=True)
    with pytest.raises(ValueError, match='`x` must be "a"'):
        choice("b", "x", ("a",))
