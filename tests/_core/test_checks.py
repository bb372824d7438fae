import math
from fractions import Fraction

import numpy as np
import pytest

from keras_ext._core._checks import is_integer, is_number, require


def test_says_nothing_when_the_rule_holds():
    require(True, "x", 1, "anything", hint="Nobody reads this.")


def test_the_message_has_the_rule_the_value_and_the_hint():
    message = r"^`x` must be even\. Received: x='3'\. Pass 2 or 4\.$"
    with pytest.raises(ValueError, match=message):
        require(False, "x", "3", "even", hint="Pass 2 or 4.")


def test_without_a_hint_the_message_ends_with_the_value():
    with pytest.raises(ValueError, match=r"^`x` must be even\. Received: x=3\.$"):
        require(False, "x", 3, "even")


@pytest.mark.parametrize(
    ("value", "number", "integer"),
    [
        (0, True, True),
        (-3, True, True),
        (10**40, True, True),
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
