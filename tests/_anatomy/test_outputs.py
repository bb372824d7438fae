from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_ext._anatomy._outputs import Outputs, highest, number_of_top

NAMED = SimpleNamespace(output_names=["size", "kind"])
PAIR = [np.zeros((1, 1)), np.zeros((1, 3))]


def outputs(*sizes, names=None, given=None):
    raw = [np.zeros((2, size)) for size in sizes]
    raw = raw[0] if len(raw) == 1 else raw
    return Outputs(SimpleNamespace(output_names=names), raw, given)


@pytest.mark.parametrize(
    ("found", "names"),
    [
        (outputs(1), ["output"]),
        (outputs(1, names=["price"]), ["price"]),
        (outputs(3, names=["kind"]), ["0", "1", "2"]),
        (outputs(1, 2), ["output_0", "output_1[0]", "output_1[1]"]),
        (outputs(1, 2, names=["a", "b"]), ["a", "b[0]", "b[1]"]),
        (outputs(2, given=["cat", "dog"]), ["cat", "dog"]),
        (Outputs(NAMED, {"b": PAIR[0], "a": PAIR[1]}), ["a[0]", "a[1]", "a[2]", "b"]),
        (
            Outputs(keras.Sequential([keras.layers.Dense(1, name="price")]), PAIR[0]),
            ["price"],
        ),
        (Outputs(object(), np.zeros((1, 2, 2))), ["0", "1", "2", "3"]),
    ],
)
def test_names_of_entries(found, names):
    assert found.names == names


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        (None, None),
        (0, [0]),
        (-1, [3]),
        (np.int64(1), [1]),
        (np.array([3, 0]), [3, 0]),
        (range(2), [0, 1]),
        ("kind", [1, 2, 3]),
        ("kind[2]", [3]),
        (["kind[0]", "size", -1], [1, 0, 3]),
        (("size",), [0]),
    ],
)
def test_entries_that_are_meant(asked, numbers):
    assert Outputs(NAMED, PAIR).chosen(asked) == numbers


def test_the_only_output_has_a_name_too():
    only = outputs(3, names=["kind"], given=["cat", "dog", "fox"])
    assert only.chosen("kind") == [0, 1, 2]
    assert only.chosen("kind[1]") == only.chosen("dog") == [1]
    # A name that was given wins over that of the layer.
    assert outputs(2, names=["kind"], given=["a", "kind"]).chosen("kind") == [1]


@pytest.mark.parametrize(
    "asked", [4, -5, "sort", [], True, 1.0, [0, "sort"], np.array([]), {"kind": 1}]
)
def test_outputs_that_are_not_there(asked):
    with pytest.raises(
        ValueError, match=r"`outputs` must be .*; the outputs are \['si"
    ):
        Outputs(NAMED, PAIR).chosen(asked)


def test_as_many_names_as_entries():
    with pytest.raises(ValueError, match="`output_names` must be 3 names"):
        outputs(3, given=["a"])


def test_the_highest_of_each_row():
    assert number_of_top("top") == 1
    assert number_of_top(("top", np.int64(2))) == 2
    assert number_of_top(["top"]) is number_of_top(np.zeros(2)) is None
    with pytest.raises(ValueError, match='`outputs` must be "top"'):
        number_of_top(("top", 0))
    columns = np.array([[1.0, 3.0, 2.0], [5.0, 0.0, 5.0]])
    assert highest(columns, 2).tolist() == [[1, 2], [0, 2]]
