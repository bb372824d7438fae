import numpy as np
import pytest

from keras_ext.data._sizes import checked_shuffle, checked_sizes, chosen_sizes, doubled


@pytest.mark.parametrize(
    ("first", "most", "sizes"),
    [
        (8, 64, (8, 16, 32, 64)),
        (8, 63, (8, 16, 32)),
        (1, 1, (1,)),
        (500, 100, (500,)),
        (3, 25, (3, 6, 12, 24)),
    ],
)
def test_doubled(first, most, sizes):
    assert doubled(first, most) == sizes


def test_without_any_they_grow_as_far_as_there_are_samples():
    assert chosen_sizes(None, 4, None, 10**6) == (4, 8, 16, 32, 64, 128)
    assert chosen_sizes(None, 4, None, 40) == (4, 8, 16, 32)
    assert chosen_sizes(None, 4, 10, 40) == (4, 8)
    assert chosen_sizes([8, 4], 4, None, 5) == (4, 8)


@pytest.mark.parametrize("sizes", [[60, 20, 60], (20, 60), np.array([60, 20])])
def test_given_ones_are_sorted_plain_integers(sizes):
    found = checked_sizes(sizes, 20)
    assert found == (20, 60)
    assert {type(size) for size in found} == {int}


@pytest.mark.parametrize(
    "sizes", [20, "20", {20: 1}, [20, 0], [20.0], [True], [], None]
)
def test_what_are_no_sizes(sizes):
    with pytest.raises(ValueError, match="`sizes` must be a list of integers >= 1"):
        checked_sizes(sizes, 20)


def test_the_first_one_is_among_them():
    message = r"`batch_size` must be one of sizes=\[8, 16\]. Received: batch_size=20"
    with pytest.raises(ValueError, match=message):
        checked_sizes([16, 8], 20)


@pytest.mark.parametrize("given", [True, False, 0, 7, np.bool_(True), np.int32(7)])
def test_shuffle(given):
    found = checked_shuffle(given)
    assert found == given
    assert type(found) in (bool, int)


@pytest.mark.parametrize("given", ["no", -1, 0.5, None, [1]])
def test_what_is_no_way_to_shuffle(given):
    with pytest.raises(ValueError, match="`shuffle` must be"):
        checked_shuffle(given)
