"""Recurrent networks, and how many parameters they have."""

import itertools

import keras_tuner
import numpy as np
import pytest

from keras_ext.tuner.spaces import recurrent
from tests.thorough import thorough_but


@pytest.mark.parametrize("seed", thorough_but(range(2), range(16)))
def test_parameters_are_within_the_budget_and_counted_right(seed, drawn, num_trained):
    tokens = seed % 2 == 1
    space = recurrent(
        (6,) if tokens else (6, 2),
        3,
        vocabulary=11 if tokens else None,
        depth=(1, 3),
        widths=["equal", "decreasing"],
        pooling=["last", "mean", "max"],
        parameter_budget=3000,
        residual=[False, True],
    )
    hp = drawn(space, seed)
    model, values = space(hp), space._read(hp)
    widths = space.widths(hp)
    assert space._count(values, widths) == num_trained(model) <= 3000
    assert space._count(values, [w + 1 for w in widths]) > 3000
    assert model(np.ones((2, 6) if tokens else (2, 6, 2))).shape == (2, 3)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="integers >= 1, as .steps,. with"):
        recurrent((6, 2), 3, vocabulary=4)
    with pytest.raises(ValueError, match="integers >= 1, as .steps, features."):
        recurrent((6,), 3)
    with pytest.raises(ValueError, match='`cell` must be "lstm" or "gru"'):
        recurrent((6, 2), 3, cell="rnn")


@pytest.mark.parametrize("depth", [(1, 3), (1, 2), (2, 3), (1, 1), (2, 2)])
@pytest.mark.parametrize("pooling", [["last", "mean"], ["last"], ["mean"]])
def test_ways_past_layers_are_asked_for_where_there_are_any(depth, pooling):
    """Whoever asks for one that changes nothing has a trial made twice."""
    space = recurrent(
        (2, 1),
        2,
        depth=depth,
        pooling=pooling,
        cell="gru",
        width=2,
        residual=[False, True],
    )
    for number, pooled in itertools.product(range(depth[0], depth[1] + 1), pooling):
        hp = keras_tuner.HyperParameters()
        hp.values = {"recurrent/depth": number, "recurrent/pooling": pooled}
        values = space._read(hp)
        ways = [space._skips({**values, "residual": x}) for x in (False, True)]
        assert (values["residual"] is not None) == (ways[0] != ways[1])
