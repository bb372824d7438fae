import numpy as np
import pytest

from keras_ext.explain._inputs import Inputs
from keras_ext.explain._players import Players
from tests.explain.models import linear, two_inputs

NAMES = ["a", "b", "c", "d"]


@pytest.fixture(scope="module")
def four():
    """The inputs of a model of four numbers."""
    return Inputs(linear(np.ones(4)), np.zeros((1, 4)))


def test_equal_numbers_play_together(four):
    players = Players(four, np.array([7, 2, 7, 2]), NAMES)
    assert players.names == ["group 2", "group 7"]
    np.testing.assert_array_equal(players.of_element, [1, 0, 1, 0])


def test_named_groups_leave_the_others_alone(four):
    players = Players(four, {"ends": ["a", 3]}, NAMES)
    assert players.names == ["ends", "b", "c"]
    np.testing.assert_array_equal(players.of_element, [0, 1, 2, 0])
    for wrong in (["a", "a"], ["e"], [4], [], "a"):
        with pytest.raises(ValueError, match="`groups` must be"):
            Players(four, {"ends": wrong}, NAMES)


def test_an_input_that_is_left_out_is_one_player():
    rows = {"number": np.zeros((1, 2)), "tokens": np.zeros((1, 3), int)}
    inputs = Inputs(two_inputs(), rows)
    players = Players(inputs, {"number": np.array([0, 1])}, inputs.element_names())
    assert players.names == ["number 0", "number 1", "tokens"]
    np.testing.assert_array_equal(players.of_element, [0, 1, 2, 2, 2])
    of_number, of_tokens = players.of_part(inputs)
    assert len(of_number) == 2
    np.testing.assert_array_equal(of_tokens, 2)


def test_what_is_spread_adds_up_again(four):
    players = Players(four, np.array([0, 1, 1, 1]), NAMES)
    values = np.array([[[2.0], [9.0]]])
    spread = players.spread(values)
    np.testing.assert_allclose(spread[0, :, 0], [2, 3, 3, 3])
    np.testing.assert_allclose(players.total(spread), values)


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (None, [[0, 0, 0, 0], [1, 0, 0, 1]]),
        (np.array([0, 1, 1, 2]), [[0, 0, 0], [1, 0, 1]]),
        (np.array([0, 1, 1, 0]), [[0, 0], [1, 0]]),
    ],
)
def test_players_change_if_any_of_their_elements_does(groups, expected, four):
    players = Players(four, groups, NAMES)
    x, background = np.ones((1, 4)), np.ones((2, 4))
    background[1, [0, 3]] = 0
    found = players.changed([x], [background], four)
    np.testing.assert_array_equal(found, [np.array(expected, bool)])
