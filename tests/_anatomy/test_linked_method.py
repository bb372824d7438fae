"""Tests of links around a method of one object."""

import inspect
import itertools

import keras
import pytest

from keras_ext import make_live
from keras_ext._anatomy._linked_method import link_method, linked_calls, replace_method
from keras_ext._live._find_hyperparameters import find_hyperparameters


class Owner:
    def method(self, x, scale=1):
        return scale * x


def adding(number):
    return lambda inner: lambda *args, **kwargs: inner(*args, **kwargs) + number


def times(number):
    return lambda inner: lambda *args, **kwargs: inner(*args, **kwargs) * number


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_links_leave_in_any_order(order):
    owner = Owner()
    links = [adding(1), times(10), adding(3)]
    undo = [link_method(owner, "method", link) for link in links]
    assert owner.method(2, scale=2) == (4 + 1) * 10 + 3
    there = [0, 1, 2]
    for leaving in order:
        undo[leaving]()
        undo[leaving]()  # once more does nothing
        there.remove(leaving)
        expected = 2
        for i in there:
            expected = links[i](lambda value=expected: value)()
        assert owner.method(2) == expected
    assert vars(owner) == {}


def test_an_outermost_link_stays_around_later_ones():
    owner = Owner()
    link_method(owner, "method", adding(1), outermost=True)
    link_method(owner, "method", times(10))
    assert owner.method(2) == 2 * 10 + 1


def test_what_somebody_else_had_put_there_comes_back():
    owner = Owner()
    own = owner.method = lambda x: -x
    undo = link_method(owner, "method", adding(1))
    assert owner.method(2) == -1
    undo()
    assert owner.method is own


def test_what_somebody_else_puts_there_meanwhile_stays():
    owner = Owner()
    undo = link_method(owner, "method", adding(1))
    linked = owner.method
    owner.method = lambda x: 100 + linked(x)
    assert owner.method(2) == 103
    undo()
    assert owner.method(2) == 102


def test_the_signature_is_that_of_the_method():
    owner = Owner()
    before = inspect.signature(owner.method)
    link_method(owner, "method", adding(1))
    assert inspect.signature(owner.method) == before


def test_a_layer_is_itself_again():
    layer = keras.layers.ReLU()
    undo_first = replace_method(layer, "call", lambda: 1)
    undo_second = replace_method(layer, "call", lambda: 2)
    assert layer.call() == 2
    undo_first()
    assert layer.call() == 2
    undo_second()
    assert layer.call.__func__ is keras.layers.ReLU.call


def test_blocks_of_links_may_be_inside_one_another():
    layer = keras.layers.ReLU()

    def more(_):
        return lambda call: lambda x: call(x) + 1

    with linked_calls([layer], more), linked_calls([layer], more):
        assert float(layer.call(2.0)) == 4.0
    assert "call" not in vars(layer)


def test_a_layer_may_become_live_and_plain_under_a_link():
    layer = keras.layers.Dropout(0.0, name="dropout")
    model = keras.Sequential([keras.Input((2,)), layer])
    seen = []

    def noting(call):
        def note(*args, **kwargs):
            seen.append(args)
            return call(*args, **kwargs)

        return note

    undo = link_method(layer, "call", noting)
    rate = make_live(model)["dropout/rate"]
    rate.assign(0.9)
    assert 0 in keras.ops.convert_to_numpy(layer(keras.ops.ones((9, 9)), training=True))
    (found,) = find_hyperparameters(model)
    found.make_plain()
    layer(keras.ops.ones((1, 2)))
    assert seen  # the link is there still
    undo()
    assert {"call", "get_config"}.isdisjoint(vars(layer))
