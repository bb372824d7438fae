"""What is declared, and under which conditions."""

import re

import keras_tuner
import pytest

import keras_ext as kx
from keras_ext.tuner.spaces._asked import (
    Asked,
    flags,
    integer_span,
    number_span,
    words,
)


def ask(hp):
    asked = Asked(hp)
    kind = asked.choice("kind", ["a", "b", "c"])
    depth = asked.integer("depth", (1, 3))
    with asked.when("kind", ["b", "c"]):
        with asked.when("depth", [2, 3]):
            both = asked.number("both", (1.0, 2.0))
        with asked.when("kind", ["c"]):
            constant = asked.integer("constant", (5, 5))
    return kind, depth, both, constant


def test_asking_once_declares_all_and_reads_what_is_active():
    hp = keras_tuner.HyperParameters()
    assert ask(hp) == ("a", 1, None, 5)
    assert [h.name for h in hp.space] == ["kind", "depth", "both"]
    hp = keras_tuner.HyperParameters()
    hp.values = {"kind": "b", "depth": 3}
    assert ask(hp) == ("b", 3, 1.0, 5)
    assert ask(hp) == ("b", 3, 1.0, 5)
    assert len(hp.space) == 3
    hp = keras_tuner.HyperParameters()
    hp.values = {"kind": "b", "depth": 1}
    assert ask(hp)[2] is None


def test_a_condition_on_what_is_given_is_decided_at_once():
    hp = keras_tuner.HyperParameters()
    asked = Asked(hp)
    assert asked.choice("kind", ["a"]) == "a"
    with asked.when("kind", ["b"]):
        assert asked.number("left_out", (0.0, 1.0)) is None
        with asked.when("left_out", [1.0]):
            assert asked.choice("deeper", ["x", "y"]) is None
    with asked.when("kind", ["a", "b"]):
        assert asked.choice("flag", [False, True]) is False
    with asked.when("flag", []):
        assert asked.integer("never", (1, 2)) is None
    assert [h.name for h in hp.space] == ["flag"]


def test_a_space_may_be_asked_for_within_scopes_of_the_user():
    """Two networks in one model, each with its own values."""
    hp = keras_tuner.HyperParameters()
    space = kx.tuner.spaces.mlp((2,), 1, depth=(1, 2), dropout="none")
    hp.Choice("side", ["left", "right"])
    for side in ("left", "right"):
        with hp.conditional_scope("side", [side]), hp.name_scope(side):
            space.declare(hp)
    names = [h.name for h in hp.space]
    assert len(names) == 1 + 2 * 3
    assert "left/mlp/depth" in names
    inactive = [h for h in hp.space if not hp.is_active(h)]
    assert all(h.name.startswith("right/") for h in inactive)
    assert len(inactive) == 3


def test_powers_of_two():
    hp = keras_tuner.HyperParameters()
    Asked(hp).integer("size", (3, 100), doubling=True)
    assert list(hp.space[0].values) == [3, 6, 12, 24, 48, 96]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: words("d", "w", ("a", "b")), '`w` must be "a" or "b"'),
        (lambda: words([], "w", ("a", "b")), '`w` must be "a" or "b"'),
        (lambda: words(["a", "a"], "w", ("a", "b")), "a list of different words"),
        (lambda: flags([True, True], "f"), "`f` must be True, False or"),
        (lambda: flags(1, "f"), "`f` must be True or False"),
        (lambda: integer_span((3, 2), "i"), "`i` must be an integer >= 1 or a pair"),
        (lambda: integer_span((1, 2, 3), "i"), "`i` must be an integer >= 1 or a pair"),
        (lambda: number_span(0.0, "n"), "`n` must be a number > 0 or a pair"),
        (
            lambda: number_span((0.1, 2.0), "n", high=1.0),
            "`n` must be a number in (0, 1] or",
        ),
        (lambda: number_span((0.2, 0.1), "n"), "`n` must be a number > 0 or a pair"),
    ],
)
def test_arguments_are_checked(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
