import numpy as np
import pytest

from keras_ext.explain._arguments import is_compiled, number_or_auto


def test_numbers_and_auto():
    assert number_or_auto("auto", "budget") is None
    found = number_or_auto(np.int64(3), "budget")
    assert (found, type(found)) == (3, int)
    assert is_compiled(np.True_) is True
    assert is_compiled("auto") is False  # no accelerator here


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "many", None, np.ones(2), np.nan])
def test_what_is_neither(value):
    message = '`budget` must be an integer >= 1 or "auto". Received: budget='
    with pytest.raises(ValueError, match=message):
        number_or_auto(value, "budget")


@pytest.mark.parametrize("jit", ["yes", 1, None, np.ones(2)])
def test_what_says_not_whether_to_compile(jit):
    with pytest.raises(ValueError, match="`jit` must be True"):
        is_compiled(jit)
