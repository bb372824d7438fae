"""Convolutional networks, and how many parameters they have."""

import itertools

import keras_tuner
import numpy as np
import pytest

import keras_ext as kx
from keras_ext.tuner.spaces import convnet
from tests.thorough import thorough_but


def everything(shape):
    return convnet(
        shape,
        3,
        stages=(1, 3),
        blocks=(1, 2),
        kernel_size=(1, 4),
        convolution=["plain", "separable"],
        widths=["equal", "increasing", "free"],
        parameter_budget=4000,
        normalization=["none", "batch", "layer", "rms"],
        residual=[False, True],
        dropout=["none", "plain", "spatial", "drop_block"],
    )


@pytest.mark.parametrize("seed", thorough_but(range(3), range(20)))
def test_parameters_are_within_the_budget_and_counted_right(seed, drawn, num_trained):
    shape = (8, 9, 2) if seed % 2 else (16, 2)
    space = everything(shape)
    hp = drawn(space, seed)
    model, values = space(hp), space._read(hp)
    assert values["kernel_size"] in (1, 3)
    widths = space.widths(hp)
    assert space._count(values, widths) == num_trained(model) <= 4000
    assert space._count(values, [w + 1 for w in widths]) > 4000
    assert model(np.ones((2, *shape), "float32"), training=True).shape == (2, 3)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="`stages` must be at most 3 for an input"):
        convnet((4, 8, 1), 2, stages=4)
    with pytest.raises(ValueError, match="`kernel_size` must be odd, or a pair"):
        convnet((8, 8, 1), 2, kernel_size=4)
    with pytest.raises(ValueError, match="`input_shape` must be a tuple of integers"):
        convnet((8, 8, 8, 1), 2)


@pytest.mark.parametrize(
    ("blocks", "stages"),
    [((1, 2), (1, 3)), ((1, 1), (1, 2)), ((1, 2), (1, 1)), ((1, 1), (1, 1))],
)
def test_ways_past_blocks_are_asked_for_where_there_are_any(blocks, stages):
    """Whoever asks for one that changes nothing has a trial made twice."""
    space = convnet((8, 1), 2, blocks=blocks, stages=stages, widths="equal", width=4)
    spans = (range(low, high + 1) for low, high in (blocks, stages))
    for number, stage in itertools.product(*spans):
        hp = keras_tuner.HyperParameters()
        hp.values = {"convnet/blocks": number, "convnet/stages": stage}
        values = space._read(hp)
        ways = [space._skips({**values, "residual": x}) for x in (False, True)]
        assert (values["residual"] is not None) == (ways[0] != ways[1])


def test_a_search_gives_all_that_is_asked_for(tmp_path):
    """The way past blocks is asked for by one name under two conditions."""
    space = convnet((8, 8, 1), 2, stages=(1, 2), blocks=(1, 2), residual=[False, True])
    hp = keras_tuner.HyperParameters()
    space.declare(hp)
    oracle = kx.tuner.OptunaOracle("loss", 12, hyperparameters=hp, seed=0)
    oracle._set_project_dir(str(tmp_path), "project")
    oracle.verbose = 0
    seen = set()
    for i in range(12):
        values = space._read(oracle.create_trial(f"tuner{i}").hyperparameters)
        seen.add((values["blocks"], values["stages"], values["residual"]))
    assert {r for b, s, r in seen if (b, s) == (1, 1)} <= {None}
    assert {r for b, s, r in seen if (b, s) != (1, 1)} == {False, True}
